"""A grid of NAT pairs as SVG: plain text, no library, the same bytes for the same results.

Green is a direct path, the darker the later; grey stays with the relay; red is not as predicted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

CELL = 52
"""pixels, as all of the following"""
LABELS = 80
TITLE = 64
GAP = 40
LEGEND = 60
LINE = 18
SLOW = 2.0
"""seconds to a direct path that get the darkest green; chosen: who waits notices more"""
RELAYED = "#e3e3e3"
WRONG = "#d7301f"
LIGHT = (199, 233, 192)
DARK = (35, 139, 69)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a pair of NATs came to, over all seeds."""

    share: float
    """of the seeds that got a direct path"""
    direct_s: float | None
    """median, from the first pong"""
    is_expected: bool


Grid = Mapping[tuple[str, str], Cell]
"""by (row, column)"""


def picture(grids: Mapping[str, Grid]) -> str:
    """Returns the grids side by side, each under its name."""
    names = {name: list(dict.fromkeys(row for row, _ in grid)) for name, grid in grids.items()}
    side = {name: LABELS + CELL * len(kinds) for name, kinds in names.items()}
    width = sum(side.values()) + GAP * (len(grids) + 1)
    height = TITLE + max(side.values()) + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    left = GAP
    for name, grid in grids.items():
        parts += _grid(left, name, names[name], grid)
        left += side[name] + GAP
    parts += _legend(height - LEGEND + 24)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _grid(left: int, name: str, kinds: list[str], grid: Grid) -> list[str]:
    direct = sum(cell.share == 1 for cell in grid.values())
    parts = [_text(left, 24, f"{name}: {direct} of {len(grid)} pairs direct", size=16)]
    for i, kind in enumerate(kinds):
        x, y = left + LABELS + CELL * i, TITLE + LABELS // 2 + CELL * i
        parts.append(_text(x + CELL // 2, TITLE + LABELS // 2 - 8, kind, anchor="middle", size=11))
        parts.append(_text(left + LABELS - 8, y + CELL // 2 + 4, kind, anchor="end", size=11))
    for (row, column), cell in grid.items():
        x = left + LABELS + CELL * kinds.index(column)
        y = TITLE + LABELS // 2 + CELL * kinds.index(row)
        parts.append(
            f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{_colour(cell)}">'
            f"<title>{escape(f'{row} dialled by {column}: {_words(cell)}')}</title></rect>"
        )
        label = "relay" if cell.direct_s is None else f"{cell.direct_s:.2f}"
        parts.append(_text(x + CELL // 2 - 1, y + CELL // 2 + 3, label, anchor="middle", size=11))
    return parts


def _legend(y: int) -> list[str]:
    lines = (
        "Row: NAT of the dialled node, column: NAT of the dialler, each as mapping/filtering: "
        "EI endpoint-independent, AD address-dependent, APD address-and-port-dependent.",
        "Number: seconds from the first pong to the direct path (median). Grey: it stays with the "
        "relay. Red: not as predicted.",
    )
    return [_text(GAP, y + LINE * i, line) for i, line in enumerate(lines)]


def _colour(cell: Cell) -> str:
    if not cell.is_expected:
        return WRONG
    if cell.direct_s is None:
        return RELAYED
    part = min(1.0, cell.direct_s / SLOW)
    mixed = (round(a + (b - a) * part) for a, b in zip(LIGHT, DARK, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _words(cell: Cell) -> str:
    if cell.direct_s is None:
        return "relayed"
    return f"direct after {cell.direct_s:.2f} s in {cell.share:.0%} of the runs"


def _text(x: int, y: int, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
