"""Each threat of a spec has something against it, and names a test that exists.

A threat is an item of a list: **what is tried**, what stands against it, then `Test:` or `Tests:`
on a line of its own.  specs/security.md is made of them; so is every section on security
considerations, unless the page is among those whose section is prose.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.md"))
NAMED = re.compile(r"`(test_\w+)`")
FILES = re.compile(r"`(tests/[\w/.]+)`")
ITEM = re.compile(r"^- \*\*((?:(?!\*\*).)+)\*\*:(.*?)(?=^- |^\n|^\S|\Z)", re.MULTILINE | re.DOTALL)
TESTS = re.compile(r"^  Tests?: ", re.MULTILINE)
IN_PROSE = {
    "autonat.md",
    "control.md",
    "file_transfer.md",
    "identify.md",
    "identity.md",
    "metrics.md",
    "multistream.md",
    "noise.md",
    "ping.md",
    "pipe.md",
    "recovery.md",
    "store.md",
    "streams.md",
    "transport.md",
}
"""Their requirements say what stands against each threat, and are cited by tests one by one."""


def names_of_tests() -> dict[str, None]:
    """Returns the names of all test functions."""
    found: dict[str, None] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = None
    return found


def threats(text: str) -> list[tuple[str, str, str]]:
    """Returns (threat, what stands against it, tests) of all items that are threats."""
    found = []
    for threat, body in ITEM.findall(text):
        against, *tests = TESTS.split(body, maxsplit=1)
        found.append((" ".join(threat.split()), " ".join(against.split()), "".join(tests)))
    return found


def pages_with_threats() -> list[Path]:
    """Returns the pages that must list threats."""
    pages = [spec for spec in SPECS if "\n## Security considerations" in spec.read_text("utf-8")]
    return [ROOT / "specs/security.md", *(page for page in pages if page.name not in IN_PROSE)]


def security_of(spec: Path) -> str:
    """Returns the part of a page that is about threats."""
    text = spec.read_text(encoding="utf-8")
    if spec.name == "security.md":
        return text.partition("\n## Not defended")[0]
    return text.partition("\n## Security considerations")[2].partition("\n## ")[0]


def test_each_test_that_a_spec_names_exists() -> None:
    known = names_of_tests()
    missing = {
        name: spec.name
        for spec in SPECS
        for name in NAMED.findall(spec.read_text(encoding="utf-8"))
        if name not in known
    }
    assert missing == {}


def test_each_file_that_the_page_on_security_names_exists() -> None:
    text = (ROOT / "specs/security.md").read_text(encoding="utf-8")
    named = FILES.findall(text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("spec", pages_with_threats(), ids=lambda path: path.name)
def test_each_threat_has_something_against_it_and_a_test(spec: Path) -> None:
    section = security_of(spec)
    found = threats(section)

    assert found, "no threats"
    assert len(found) == len(re.findall(r"^- ", section, re.MULTILINE)), "an item is no threat"
    for threat, against, tests in found:
        assert threat, threat
        assert against, threat
        assert NAMED.search(tests) or FILES.search(tests), threat


@pytest.mark.parametrize("name", sorted(IN_PROSE))
def test_a_page_whose_section_on_security_is_prose_has_one(name: str) -> None:
    assert security_of(ROOT / "specs" / name).strip()


def test_threats_are_items_and_not_rows_of_a_table() -> None:
    tabled = [spec.name for spec in SPECS if "| threat" in spec.read_text(encoding="utf-8")]

    assert tabled == [], "write them as those of specs/security.md, or no test looks at them"


def test_threats_with_tests_stand_only_where_they_are_looked_for() -> None:
    seen = {page.name for page in pages_with_threats()}
    elsewhere = [
        spec.name
        for spec in SPECS
        if spec.name not in seen and TESTS.search(spec.read_text(encoding="utf-8"))
    ]

    assert elsewhere == []


def test_a_threat_is_read_with_what_stands_against_it_and_its_tests() -> None:
    text = (
        "- **Floods of\n  things**: bounds; more\n  words.\n  Test: `test_a`.\n"
        "- **ABC-1** A requirement.\n"
        "- **Silence**: a timeout.\n  Tests: `test_b`,\n  `test_c`.\n\nProse.\n"
    )

    assert [(threat, against) for threat, against, _ in threats(text)] == [
        ("Floods of things", "bounds; more words."),
        ("Silence", "a timeout."),
    ]
    assert [NAMED.findall(tests) for _, _, tests in threats(text)] == [
        ["test_a"],
        ["test_b", "test_c"],
    ]


def test_the_page_on_security_names_every_test_of_abuse() -> None:
    text = (ROOT / "specs/security.md").read_text(encoding="utf-8")
    written = {
        node.name: path.name
        for path in sorted((ROOT / "tests/simulation").glob("test_abuse*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert written, "no tests of abuse"
    assert {name: file for name, file in written.items() if f"`{name}`" not in text} == {}
