"""What `p2pnode swarm` prints of its board: changes as they come, and the whole at the end.

    a terminal   what it comes to and one table, drawn anew, below how to join
    a file       a line a change, the table at the end
    --json       an object a change, a summary at the end

Rule: a board in, text out; whether its time is real or virtual makes no difference.
"""

import io
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from p2pnode.cli.output import Output
from p2pnode.cli.swarm_lines import (
    node_fields,
    node_text,
    pair_fields,
    pair_text,
    summary_fields,
    summary_text,
)
from p2pnode.escape import printable, said
from p2pnode.testbed.fleet import Pair
from p2pnode.testbed.fleet_board import Board, NodeView

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

PLAIN_WIDTH = 120  # columns of the table where stdout is no terminal

LEGEND = "reaches: D direct, r relayed, - not at all, · not asked"
_SIGNS = {"direct": "D", "relayed": "r", None: "-"}


class SwarmReport:
    """Prints a board; a context manager, which draws on a terminal between its ends."""

    def __init__(self, output: Output, board: Board) -> None:
        self._output = output
        self._board = board
        self._introduced: dict[str, None] = {}
        self._live: Live | None = None

    def __enter__(self) -> "SwarmReport":
        if not self._output.is_json and sys.stdout.isatty():
            self._live = _start_live()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, fields: dict[str, Any], *lines: str) -> None:
        """Prints something else, which stays above the table of a terminal."""
        if self._live is None:
            self._output.emit(fields, *lines)
        else:
            # As it is, without breaks at the margin: it may be there to be copied.
            for line in lines:
                self._live.console.print(
                    printable(line), soft_wrap=True, markup=False, highlight=False
                )

    def refresh(self) -> None:
        """Prints what is new."""
        changes = self._board.poll_changes()
        if self._live is not None:
            self._draw()
            return
        for change in changes:
            if isinstance(change, NodeView):
                self._introduce(change)
                self._output.emit(node_fields(change), node_text(change))
            else:
                self._output.emit(pair_fields(change), pair_text(change))

    def finish(self) -> None:
        """Prints what it came to."""
        self.refresh()
        if self._live is None:
            self._output.text(*_plain(self._table()))
            summary = self._board.summary()
            self._output.emit(summary_fields(summary), summary_text(summary))

    def _introduce(self, node: NodeView) -> None:
        """Tells a person who the node is and what it is behind, once."""
        name, kind = node.member.name, node.member.kind
        if name not in self._introduced and node.peer_id:
            self._introduced[name] = None
            what = "a relay, " if node.member.is_relay else ""
            self._output.text(f"started    {name} is {node.peer_id}, {what}{kind.meaning}")

    def _draw(self) -> None:
        assert self._live is not None
        from rich.console import Group
        from rich.text import Text

        # On top, for of what is higher than the terminal the end is not shown.
        above = [summary_text(self._board.summary()), *self._obituaries()]
        texts: list[RenderableType] = [Text(printable(line)) for line in above]
        self._live.update(Group(*texts, self._table()), refresh=True)

    def _obituaries(self) -> list[str]:
        ended = (node for node in self._board.nodes.values() if node.end is not None)
        return [said(node_text(node)) for node in ended]

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, caption=LEGEND, caption_justify="left")
        for title in ("node", "NAT", "reachability", "relays"):
            table.add_column(title, no_wrap=True)
        table.add_column("RTT ms", justify="right", no_wrap=True)
        table.add_column(f"reaches {self._names()}", no_wrap=True)
        for node in self._board.nodes.values():
            cells = (
                node.member.name,
                node.member.kind.name,
                _state(node),
                " ".join(node.relays),
                self._rtt(node.member.name),
                self._reaches(node.member.name),
            )
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table

    def _columns(self) -> list[str]:
        """Returns who is in any pair."""
        asked = {name: None for pair in self._board.pairs for name in pair}
        return [name for name in self._board.nodes if name in asked]

    def _names(self) -> str:
        columns = self._columns()
        return f"{columns[0]} to {columns[-1]}" if columns else ""

    def _reaches(self, name: str) -> str:
        signs: list[str] = []
        for other in self._columns():
            view = self._board.pairs.get(Pair(name, other)) or self._board.pairs.get(
                Pair(other, name)
            )
            signs.append("·" if view is None else _SIGNS.get(view.path, "?"))
        return "".join(signs)

    def _rtt(self, name: str) -> str:
        times = [
            1000 * view.rtt
            for pair, view in self._board.pairs.items()
            if name in pair and view.rtt is not None
        ]
        return f"{min(times):.0f}..{max(times):.0f}" if times else ""


def _state(node: NodeView) -> str:
    if node.end is not None:
        return "has ended"
    return node.verdict if node.is_running else "starting"


def _plain(table: "Table") -> list[str]:
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=PLAIN_WIDTH, color_system=None).print(table)
    return [line.rstrip() for line in file.getvalue().rstrip().split("\n")]


def _start_live() -> "Live | None":
    """Returns None where the terminal cannot be drawn on."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_interactive:  # TERM=dumb
        return None
    # Without a thread of its own, which could not move into a namespace.
    live = Live(console=console, auto_refresh=False)
    live.start()
    return live
