"""Reads the tables and diagrams of the specs, so that tests can hold the code against them."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
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
    """Returns the tables of a section, each a list of rows of cells; none is empty."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*section(spec, heading).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            assert rows[2:], f"a table of {spec}, {heading}, has no rows"
            found.append(rows[2:])
            rows = []
    assert found, f"{spec} has no table in {heading}"
    return found


HOMES = (
    "p2pnode.swarm",
    "p2pnode.protocols",
    "p2pnode.transports",
    "p2pnode.transports.datagrams",
    "p2pnode.transports.noise_udp",
    "p2pnode.wire",
    "p2pnode",
)
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


def limits_in_code(package: str) -> dict[str, float]:
    """Returns the public numbers that a package's modules define at their top, by full name."""
    root = importlib.import_module(package)
    submodules = pkgutil.walk_packages(getattr(root, "__path__", ()), f"{package}.")
    found: dict[str, float] = {}
    for name in (package, *(info.name for info in submodules)):
        module = importlib.import_module(name)
        assert module.__file__ is not None
        for variable in _assigned(Path(module.__file__).read_text(encoding="utf-8")):
            value = getattr(module, variable)
            if type(value) in (int, float) and re.fullmatch(r"[A-Z][A-Z0-9_]*", variable):
                found[f"{name}.{variable}"] = value
    assert found, f"{package} has no limits"
    return found


def _assigned(source: str) -> Iterator[str]:
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name
            case _:
                pass


def names_in_tables(spec: str) -> set[str]:
    """Returns what stands in backticks in the first cells of a spec's tables."""
    text = (SPECS / spec).read_text(encoding="utf-8")
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    names: set[str] = set()
    for cell in cells:
        module = ""
        for name in re.findall(r"`([\w.]+)`", cell):
            # `pacing.GAIN`, `SLOW_START_GAIN`: the second one is of the same module.
            module = name.rpartition(".")[0] or module
            names.add(name if "." in name or not module else f"{module}.{name}")
    assert names, f"{spec} has no tables with names"
    return names


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
