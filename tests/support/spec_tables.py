"""Reads the tables and diagrams of the specs, so that tests can hold the code against them."""

import importlib
import re
from pathlib import Path

SPECS = Path(__file__).parents[2] / "specs"


def section(spec: str, heading: str) -> str:
    """Returns the text between a heading of any level and the next one of the same level."""
    text = (SPECS / spec).read_text(encoding="utf-8")
    match = re.search(
        rf"^(#+) {re.escape(heading)}$(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert match, f"{spec} has no section {heading!r}"
    return match[2]


def tables(spec: str, heading: str) -> list[list[list[str]]]:
    """Returns the tables of a section, each a list of rows of cells, without header."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*section(spec, heading).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


HOMES = ("p2pnode.swarm", "p2pnode.protocols", "p2pnode")
"""What the modules that a spec names are counted from, behind the spec's own package."""


def constant(name: str, package: str = "p2pnode.swarm") -> object:
    """Returns the value of `module.CONSTANT`, as a spec of that package names it."""
    module, _, variable = name.strip("`").rpartition(".")
    for home in (package, *HOMES):
        try:
            found = importlib.import_module(f"{home}.{module}")
        except ModuleNotFoundError:
            continue
        value: object = getattr(found, variable)
        return value
    raise AssertionError(f"no module of {package} has {name}")


def block(spec: str, marker: str) -> str:
    """Returns the fenced block that follows `<!-- marker -->`."""
    text = (SPECS / spec).read_text(encoding="utf-8")
    match = re.search(rf"<!-- {re.escape(marker)} -->\s*```\w*\n(.*?)```", text, re.DOTALL)
    assert match, f"{spec} has no block {marker!r}"
    return match[1]


def diagram(spec: str, marker: str) -> dict[tuple[str, str], str]:
    """Returns the arrows of the state diagram below a marker: (state, event) -> state."""
    arrows = re.findall(r"(\w+) --> (\w+): (\w+)", block(spec, marker))
    drawn = {(start, event): end for start, end, event in arrows}
    assert len(drawn) == len(arrows), "two arrows of one state for one event"
    return drawn
