"""`p2pnode status`: what the running node knows of itself."""

from typing import TYPE_CHECKING

import typer

from p2pnode.cli.columns import columns
from p2pnode.cli.command import begin
from p2pnode.cli.options import DataOption, JsonOption, VerboseOption
from p2pnode.cli.units import clock_text, path_text, size_text

if TYPE_CHECKING:
    from p2pnode.cli.session import Session
    from p2pnode.io.control.status import StatusReport

_REACHABLE = {
    "public": "public: strangers reach it",
    "private": "private: strangers do not reach it",
    "unknown": "unknown: not yet tried by enough peers",
}


def status(
    context: typer.Context,
    data: DataOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> int:
    """Show what the running node knows of itself.

    Who reaches it and how, its relays, its connections with their paths, and whom it relays for.
    Asks the node that runs on the data folder.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from dataclasses import asdict

    from p2pnode.cli.session import run_session
    from p2pnode.errors import P2PNodeError
    from p2pnode.io.control.client import ControlClient

    folder = environment.data_folder(data)

    async def command(_: "Session") -> int:
        socket = environment.control_socket(folder)
        client = None if socket is None else ControlClient(socket)
        running = None if client is None else await client.try_info()
        if client is None or running is None:
            raise P2PNodeError(
                f"no node runs on {folder}: start one with `p2pnode run`, or name another folder "
                "with --data"
            )
        report = await client.status()
        relayed = [address for address in running.addresses if "/p2p-circuit" in address]
        output.emit(asdict(report), *_lines(report, relayed))
        return 0

    return run_session(command)


def _lines(report: "StatusReport", relayed: list[str]) -> list[str]:
    """The addresses through relays are for people: scripts have them from `reservation` events."""
    addresses = [(a.addr, a.verdict, str(a.observers)) for a in report.addresses]
    relays = [
        (r.peer, f"{r.expires_s / 60:.0f} min", clock_text(r.clock_ahead_s)) for r in report.relays
    ]
    connections = [
        (
            c.peer,
            path_text(c.path, c.limited),
            "-" if c.rtt_ms is None else f"{c.rtt_ms:.1f} ms",
            str(c.streams),
            c.via,
        )
        for c in report.connections
    ]
    relaying = [(r.peer, size_text(r.bytes), str(r.circuits)) for r in report.relaying]
    held = [
        (
            r.name.replace("_", "-"),
            *((size_text if r.name == "memory" else str)(n) for n in (r.used, r.limit)),
            str(r.refused),
        )
        for r in report.resources
        if r.used or r.refused
    ]
    return [
        f"peer id     {report.peer_id}",
        f"reachable   {_REACHABLE.get(report.reachability, report.reachability)}",
        *([] if report.silence is None else [f"silence     {report.silence}"]),
        *columns("addresses", ("address", "reachable", "seen by"), addresses),
        *columns("relays", ("peer", "reserved for", "its clock"), relays),
        *(f"  reached at {address}" for address in relayed),
        *columns("connections", ("peer", "path", "round trip", "streams", "via"), connections),
        *columns("relaying for", ("peer", "carried", "circuits"), relaying),
        *columns("held by others", ("what", "used", "at most", "refused"), held),
    ]
