"""Tables for a terminal: aligned columns that nothing is cut off from, so that it can be copied."""

from collections.abc import Sequence

GAP = "  "


def columns(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table, or one that says that there is nothing."""
    if not rows:
        return [f"{title}: none"]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    table = [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return [f"{title}:", *(f"{GAP}{line}" for line in table)]
