"""`p2pnode identify`: what a peer says of itself, and where it sees us."""

from typing import TYPE_CHECKING

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
from p2pnode.escape import said

if TYPE_CHECKING:
    from p2pnode.cli.session import Session
    from p2pnode.io.control.messages import IdentifyReport

MAX_LINES_SHOWN = 50  # of a list; chosen: more is for --json


def identify(
    context: typer.Context,
    peer: PeerArgument,
    bootstrap: BootstrapOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Ask a peer who it is, and at which address it sees this node."""
    environment, output = begin(context, is_json=json, verbose=verbose)
    from dataclasses import asdict

    from p2pnode.cli.access import open_access
    from p2pnode.cli.requests import errand
    from p2pnode.cli.session import run_session

    wanted = errand(peer, data, bootstrap, Traces(qlog, key_log))

    async def command(_: "Session") -> int:
        async with open_access(environment, output, wanted) as access:
            report = await access.identify(peer)
        output.emit(asdict(report), *_lines(report))
        return 0

    return run_session(command)


def _lines(report: "IdentifyReport") -> list[str]:
    return [
        f"it sees us at      {report.observed_addr or 'an address that it does not tell'}",
        f"peer id            {report.peer_id}",
        f"agent version      {_said(report.agent_version)}",
        f"protocol version   {_said(report.protocol_version)}",
        *_list("listens on", report.listen_addrs),
        *_list("speaks", report.protocols),
    ]


def _list(title: str, values: tuple[str, ...]) -> list[str]:
    if not values:
        return [f"{title:<18} nothing that it tells"]
    shown = [f"{'':<18} {_said(value)}" for value in values[:MAX_LINES_SHOWN]]
    shown[0] = title.ljust(18) + shown[0][18:]
    if len(values) > MAX_LINES_SHOWN:
        shown.append(f"{'':<18} and {len(values) - MAX_LINES_SHOWN} more")
    return shown


def _said(text: str) -> str:
    return said(text) or "-"
