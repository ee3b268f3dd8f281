"""Lines of the pages are short enough that a change is seen in its diff."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "simulations/README.md",
        *(ROOT / "specs").glob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
    ]
)
MAX_COLUMNS = 120


def test_the_pages_are_there() -> None:
    assert len([page for page in PAGES if page.parent.name == "specs"]) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_a_page_is_longer_than_its_ceiling(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()

    assert {n: len(line) for n, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS} == {}
