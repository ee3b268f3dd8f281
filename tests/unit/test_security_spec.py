"""Each test that specs/security.md, or another page's table of threats, names does exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.md"))
NAMED = re.compile(r"`(test_\w+)`")
FILES = re.compile(r"`(tests/[\w/.]+)`")


def names_of_tests() -> dict[str, None]:
    """Returns the names of all test functions."""
    found: dict[str, None] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = None
    return found


def rows(text: str) -> list[list[str]]:
    """Returns the cells of the rows of all tables of threats."""
    found, is_inside = [], False
    for line in text.splitlines():
        if line.startswith("| threat |"):
            is_inside = True
        elif not line.startswith("|"):
            is_inside = False
        elif is_inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


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
    assert [name for name in FILES.findall(text) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_each_threat_has_something_against_it_and_a_test(spec: Path) -> None:
    for row in rows(spec.read_text(encoding="utf-8")):
        assert len(row) == 3, row
        threat, against, test = row
        assert threat, row
        assert against, row
        assert NAMED.search(test) or FILES.search(test), row


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
