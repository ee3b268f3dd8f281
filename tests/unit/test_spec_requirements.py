"""Specs and tests name the same requirements.

A spec states a requirement in bold, **ABC-1**, once, and refers to it in plain letters elsewhere;
the test that proves it carries @pytest.mark.spec("ABC-1").  Marks are found in the source, so tests
that are skipped on this machine count as well.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATED = re.compile(r"\*\*([A-Z][A-Z0-9]*(?:-[A-Z][A-Z0-9]*)*-[0-9]+)\*\*")


def stated_ids() -> Counter[str]:
    """Returns how often the specs state each requirement."""
    specs = sorted((ROOT / "specs").rglob("*.md"))
    assert specs, "no specs"
    return Counter(
        requirement
        for spec in specs
        for requirement in STATED.findall(spec.read_text(encoding="utf-8"))
    )


def marked_ids(source: str) -> Iterator[str]:
    """Yields the arguments of all pytest.mark.spec(...) in a source, in decorators or lists."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Attribute(value=ast.Name(id="pytest"), attr="mark"), attr="spec"
                ),
                args=arguments,
            ):
                for argument in arguments:
                    assert isinstance(argument, ast.Constant), "a requirement is a plain string"
                    assert isinstance(argument.value, str), "a requirement is a plain string"
                    yield argument.value
            case _:
                pass


def cited_ids() -> dict[str, str]:
    """Returns the cited requirements, each with a file that cites it."""
    return {
        requirement: str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for requirement in marked_ids(path.read_text(encoding="utf-8"))
    }


def test_each_requirement_is_stated_once() -> None:
    assert {name: count for name, count in stated_ids().items() if count > 1} == {}


def test_each_requirement_that_a_test_cites_is_stated_in_a_spec() -> None:
    stated = stated_ids()

    assert {name: where for name, where in cited_ids().items() if name not in stated} == {}


def test_each_requirement_of_a_spec_is_cited_by_a_test() -> None:
    cited = cited_ids()

    assert [name for name in stated_ids() if name not in cited] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- **NOISE-1** Handshakes MUST", ["NOISE-1"]),
        ("| **CONN-ID-12** | **X25-3** |", ["CONN-ID-12", "X25-3"]),
        ("see NOISE-1, **bold**, **RFC 9000**, *NOISE-2*", []),
    ],
)
def test_only_an_id_in_bold_states_a_requirement(text: str, found: list[str]) -> None:
    assert STATED.findall(text) == found


def test_marks_are_found_in_decorators_and_in_lists() -> None:
    source = (
        'pytestmark = [pytest.mark.spec("A-1")]\n'
        '@pytest.mark.spec("A-2")\n'
        "@pytest.mark.slow\n"
        "def test_something(): other.spec('A-3')\n"
    )

    assert sorted(marked_ids(source)) == ["A-1", "A-2"]
