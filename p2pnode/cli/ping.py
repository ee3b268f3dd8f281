"""`p2pnode ping`: round-trip times to a peer."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import Traces
from p2pnode.cli.options import (
    BootstrapOption,
    DataOption,
    JsonOption,
    KeyLogOption,
    PeerArgument,
    QlogOption,
    VerboseOption,
)
from p2pnode.cli.output import Output
from p2pnode.cli.units import path_text
from p2pnode.escape import said

if TYPE_CHECKING:
    from p2pnode.cli.session import Session
    from p2pnode.io.control.messages import PingReport


def ping(
    context: typer.Context,
    peer: PeerArgument,
    count: Annotated[
        int | None,
        typer.Option("--count", "-c", min=1, help="Stop after so many.  [default: until Ctrl-C]"),
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.01, max=86400, help="Seconds between pings.")
    ] = 1.0,
    bootstrap: BootstrapOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Measure the round-trip time to a peer.

    A ping that is lost prints a line and does not end the command; so does a path that changes, for
    instance from a relay's to a direct one.  The exit code is 0 where at
    least one pong came back, also after Ctrl-C.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from contextlib import aclosing

    from p2pnode.cli.access import open_access
    from p2pnode.cli.requests import errand
    from p2pnode.cli.session import run_session

    wanted = errand(peer, data, bootstrap, Traces(qlog, key_log))

    async def command(session: "Session") -> int:
        tally = _Tally(output)
        session.code_if_interrupted = lambda: tally.exit_code
        try:
            async with (
                open_access(environment, output, wanted) as access,
                aclosing(access.ping(peer, count, interval)) as reports,
            ):
                async for report in reports:
                    tally.add(report)
        finally:
            tally.summarise()
        return tally.exit_code

    return run_session(command)


class _Tally:
    """Prints pings as they come, and what they come to."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._sent = 0
        self._received = 0
        self._sum = 0.0
        self._min = float("inf")
        self._max = 0.0
        self._way: tuple[str, str] | None = None
        """Path and address of the pong before."""

    @property
    def exit_code(self) -> int:
        return 0 if self._received else 1

    def add(self, report: "PingReport") -> None:
        self._sent += 1
        fields = {
            "peer": report.peer,
            "seq": report.seq,
            "path": report.path,
            "via": report.via,
            "transport": report.transport,
            "limited": report.limited,
        }
        if report.rtt is None:
            text = f"ping {report.seq} to {report.peer} is lost: {said(report.loss)}"
            self._output.emit({**fields, "rtt_ms": None, "lost": report.loss}, text)
            return
        rtt_ms = report.rtt * 1000
        self._received += 1
        self._sum += rtt_ms
        self._min = min(self._min, rtt_ms)
        self._max = max(self._max, rtt_ms)
        path = path_text(report.path, report.limited)
        text = f"pong {report.seq} from {report.peer} in {rtt_ms:.2f} ms ({path})"
        way = path, report.via
        lines = [text]
        if self._way is None:
            lines = [f"{report.peer} answers via {report.via}", text]
        elif way != self._way:
            change = f"path is {path} via {report.via} now, after {self._way[0]}"
            lines = [change, text]
        self._way = way
        self._output.emit({**fields, "rtt_ms": round(rtt_ms, 3)}, *lines)

    def summarise(self) -> None:
        if not self._sent:
            return
        lost = 100 * (self._sent - self._received) / self._sent
        times = ""
        if self._received:
            mean = self._sum / self._received
            times = f", min/avg/max {self._min:.2f}/{mean:.2f}/{self._max:.2f} ms"
        self._output.text(f"{self._received} of {self._sent} pongs, {lost:.0f} % lost{times}")
