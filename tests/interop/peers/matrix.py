"""Who this node talks to: the last whole run of the matrix, and its table in the README.

A run writes both where `P2PNODE_WRITE_MATRIX` is set; a test compares the one with the other, and
the versions with those in the lock files.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.interop.peers.cells import CELLS
from tests.interop.peers.limits import Limit, failing
from tests.interop.peers.toolchains import TOOLCHAINS

HERE = Path(__file__).parent
README = HERE.parents[2] / "README.md"
RESULTS = HERE / "matrix.json"
WRITE_VARIABLE = "P2PNODE_WRITE_MATRIX"

OWN = "p2pnode"
TRANSPORTS = {"tcp": "TCP", "quic-v1": "QUIC-v1"}
DIRECTIONS = {"dial": "dialled by p2pnode", "be dialled": "dials p2pnode"}
BEGIN, END = "<!-- the matrix: written by its tests -->", "<!-- the matrix ends -->"

MAX_COLUMNS = 116
"""characters of a line in the README"""

Place = tuple[str, str, str]
"""Transport, direction, library."""


def places() -> Iterator[Place]:
    """Yields every pair of peers of the matrix; the cells of each are in CELLS."""
    for transport in TRANSPORTS:
        for direction in DIRECTIONS:
            for library in TOOLCHAINS:
                yield transport, direction, library


@dataclass(frozen=True, slots=True)
class Results:
    """What a whole run has found."""

    date: str
    """Of the run, as 2026-11-28."""
    versions: dict[str, str]
    """Of the libraries."""
    limited: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The cells of a place that fail, or may, because of the library: all others pass."""


def results(today: str | None = None) -> Results:
    """Returns those of a run that has just passed as a whole."""
    return Results(
        date=today or datetime.now(UTC).date().isoformat(),
        versions={library: version(library) for library in TOOLCHAINS},
        limited={
            " ".join(place): cells
            for place in places()
            if (cells := [cell for cell in CELLS if limits_of(place, cell)])
        },
    )


def limits_of(place: Place, cell: str) -> tuple[Limit, ...]:
    """Returns why checks of a cell fail, or may fail by chance, whoever asks."""
    transport, _, library = place
    found: dict[Limit, None] = {}
    for asking, asked in ((OWN, library), (library, OWN)):
        for is_certain in (True, False):
            checks = failing(asking, asked, transport, is_certain=is_certain)
            found |= dict.fromkeys(checks[name] for name in CELLS[cell] if name in checks)
    return tuple(found)


def load() -> Results:
    return Results(**json.loads(RESULTS.read_text(encoding="utf-8")))


def write(found: Results) -> None:
    """Keeps the results, and puts their table into the README."""
    RESULTS.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    page = README.read_text(encoding="utf-8")
    README.write_text(page.replace(block_of(page), block(found)), encoding="utf-8")


def block_of(page: str) -> str:
    """Returns the part of the README that is the matrix."""
    return page[page.index(BEGIN) : page.index(END) + len(END)]


def block(found: Results) -> str:
    head = [f"{name}, {how}" for name in TRANSPORTS.values() for how in DIRECTIONS.values()]
    lines = [row(["library", *head]), row(["---"] * (len(head) + 1))]
    lines += [row(cells_of(library, found)) for library in TOOLCHAINS]
    said = f"The cells: {', '.join(CELLS)}. Run on {found.date}."
    return "\n".join([BEGIN, "", *lines, "", said, *notes(found), "", END])


def cells_of(library: str, found: Results) -> Iterator[str]:
    yield f"{library}-libp2p {found.versions[library]}"
    for transport in TRANSPORTS:
        for direction in DIRECTIONS:
            place: Place = (transport, direction, library)
            limited = found.limited.get(" ".join(place), ())
            limits = [limit for cell in limited for limit in limits_of(place, cell)]
            passed = f"{len(CELLS) - len(limited)} of {len(CELLS)}"
            how = "not" if any(limit.is_certain for limit in limits) or not limits else "at times"
            yield passed + (f", {how} {' and '.join(limited)}" if limited else "")


def notes(found: Results) -> Iterator[str]:
    limits: dict[Limit, None] = {}
    for place in places():
        for cell in found.limited.get(" ".join(place), ()):
            limits |= dict.fromkeys(limits_of(place, cell))
    for limit in limits:
        how = "" if limit.is_certain else ", at times"
        said = (
            f"- {limit.library}-libp2p over {TRANSPORTS[limit.transport]}{how}: {limit.reason}"
            f" ({limit.upstream})."
        )
        yield textwrap.fill(said, MAX_COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def version(library: str) -> str:
    """Returns the version of a library that its lock file has."""
    if library == "js":
        packages = json.loads((HERE / "js/package-lock.json").read_text())["packages"]
        found: str = packages["node_modules/libp2p"]["version"]
        return found
    name, pattern = _PINS[library]
    match = re.search(pattern, (HERE / library / name).read_text(), re.MULTILINE)
    assert match is not None, f"no version of {library}-libp2p in {name}"
    return match.group(1)


_PINS = {
    "go": ("go.mod", r"github\.com/libp2p/go-libp2p v(\S+)$"),
    "rust": ("Cargo.lock", r'^name = "libp2p"\nversion = "([^"]+)"$'),
    "py": ("requirements.txt", r"^libp2p==(\S+)"),
}
