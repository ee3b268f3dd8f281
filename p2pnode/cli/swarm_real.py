"""`p2pnode swarm` with processes: on loopback, or in namespaces behind NATs of the kernel."""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from p2pnode.cli.output import Output
from p2pnode.cli.session import Session, run_session
from p2pnode.cli.swarm_report import SwarmReport
from p2pnode.errors import P2PNodeError
from p2pnode.testbed import Namespace, TestBed, gain_rights, shell_prefix
from p2pnode.testbed.fleet import FleetPlan
from p2pnode.testbed.fleet_board import Board
from p2pnode.testbed.fleet_run import LOOPBACK_LISTEN, Fleet
from p2pnode.testbed.nat_kinds import PORT_RESTRICTED

REFRESH_INTERVAL = 0.5
"""seconds from one look at the board to the next"""
GUEST = "guest"
"""The name of the place, behind the usual home router, that is kept free for one more node."""


class _Place(NamedTuple):
    """Where the swarm lives."""

    folder: Path
    namespaces: Mapping[str, Namespace] | None
    """By member's name; None on loopback."""


def run_real(output: Output, plan: FleetPlan, seed: int, duration: float | None) -> int:
    """Runs the swarm for that many seconds, or until an interrupt; returns the exit code.

    Raises P2PNodeError where it cannot be made.
    """
    if sys.platform == "win32":
        raise P2PNodeError("nodes cannot be asked on Windows; `p2pnode swarm --sim` works here too")
    if not plan.is_plain:
        reason = gain_rights()  # before trio starts a thread
        if reason is not None:
            raise P2PNodeError(
                f"{reason}; `p2pnode swarm --sim` needs no rights, and `--nat none` only loopback"
            )
    board = Board(plan)

    async def command(session: Session) -> int:
        if duration is None:
            session.code_if_interrupted = lambda: 0
        with _place(plan, seed) as place:
            program = (sys.executable, "-m", "p2pnode.cli.swarm_member", str(os.getpid()))
            fleet = Fleet(
                plan, board, program=program, folder=place.folder, namespaces=place.namespaces
            )
            with SwarmReport(output, board) as report:
                try:
                    await _run(fleet, board, report, _join_command(place), duration)
                finally:
                    if fleet.is_started.is_set():
                        report.finish()
        return 0 if board.summary().is_whole else 1

    return run_session(command, serves_others=True)


async def _run(
    fleet: Fleet,
    board: Board,
    report: SwarmReport,
    join_command: list[str],
    duration: float | None,
) -> None:
    """Returns when the time is over.  Raises P2PNodeError where a node does not start."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_fresh, report)
        nursery.start_soon(fleet.run)
        await fleet.is_started.wait()
        address = board.nodes[board.plan.relays[0].name].join_address
        command = " ".join([*join_command, "--bootstrap", address])
        fields = {"event": "join", "address": address, "command": command}
        text = f"join       one more node joins at {address}, for instance by"
        report.say(fields, text, command)
        await trio.sleep(float("inf") if duration is None else duration)
        nursery.cancel_scope.cancel()


async def _keep_fresh(report: SwarmReport) -> None:
    while True:
        report.refresh()
        await trio.sleep(REFRESH_INTERVAL)


@contextmanager
def _place(plan: FleetPlan, seed: int) -> Generator[_Place, None, None]:
    """Makes what the nodes live in, and takes it away."""
    with tempfile.TemporaryDirectory(prefix="p2pnode-swarm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if plan.is_plain:
            yield _Place(folder, None)
            return
        with TestBed(seed=seed) as bed:
            sites = {member.name: bed.add_site(member.name, member.kind) for member in plan.members}
            sites[GUEST] = bed.add_site(GUEST, PORT_RESTRICTED)
            yield _Place(folder, {name: site.host for name, site in sites.items()})


def _join_command(place: _Place) -> list[str]:
    """Returns how one more node is started from a shell, but for the peer that it begins with."""
    program = ["p2pnode"] if shutil.which("p2pnode") else [sys.executable, "-m", "p2pnode"]
    command = [*program, "run", "--data", str(place.folder / GUEST)]
    if place.namespaces is None:
        return [*command, "--listen", LOOPBACK_LISTEN]
    return [*shell_prefix(place.namespaces[GUEST]), *command]
