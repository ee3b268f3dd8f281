"""Links between the repository's pages lead to a file, and to a heading of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (".github", "specs", "simulations", "tests")
PAGES = sorted(
    [ROOT / "README.md", *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))]
)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: Path) -> str:
    """Returns a page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Returns the anchors that the usual renderers give the headings of a page."""
    headings = (re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", h) for h in HEADING.findall(text_of(page)))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def dead_links(page: Path, text: str) -> list[str]:
    """Returns the links of a page that lead nowhere; those to other hosts are not looked at."""
    dead = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


def test_there_are_pages_with_links() -> None:
    links = {page.name: len(LINK.findall(text_of(page))) for page in PAGES}

    assert links["README.md"] > 0
    assert links["architecture.md"] > 0
    assert links["CONTRIBUTING.md"] > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert dead_links(page, text_of(page)) == []


@pytest.mark.parametrize("link", ["missing.md", "relay.md#no-such-heading", "#nowhere", "../../x"])
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert dead_links(ROOT / "specs/README.md", f"see [this]({link})") == [link]
