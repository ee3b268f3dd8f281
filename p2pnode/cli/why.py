"""`p2pnode why`: what decides whether packets to a peer go directly."""

from typing import TYPE_CHECKING, Any

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
from p2pnode.cli.units import path_text

if TYPE_CHECKING:
    from p2pnode.cli.session import Session
    from p2pnode.io.control.status import WhyReport


def why(
    context: typer.Context,
    peer: PeerArgument,
    bootstrap: BootstrapOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Say why a peer is reached directly, by relay, or not at all.

    Connects with the peer first, and waits some seconds for hole punching that is under way.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from dataclasses import asdict

    from p2pnode.cli.access import open_access
    from p2pnode.cli.requests import errand
    from p2pnode.cli.session import run_session

    wanted = errand(peer, data, bootstrap, Traces(qlog, key_log))

    async def command(_: "Session") -> int:
        async with open_access(environment, output, wanted) as access:
            report = await access.why(peer)
        output.emit(asdict(report), *_lines(report))
        return 0

    return run_session(command)


def _lines(report: "WhyReport") -> list[str]:
    path = path_text(report.path or "none", report.limited)
    if report.transport is not None:
        path = f"{path}, over {report.transport}"
    lines = [report.verdict, f"peer     {report.peer}", f"path     {path}"]
    if report.cause is not None:
        lines.append(f"cause    {report.cause.side}: {report.cause.property}")
    return [*lines, *map(_attempt_line, report.attempts)]


def _attempt_line(attempt: dict[str, Any]) -> str:
    outcome = "a direct path" if attempt.get("direct") else attempt.get("reason") or "nothing"
    return f"tried    round {attempt.get('round')}, {attempt.get('strategy')}: {outcome}"
