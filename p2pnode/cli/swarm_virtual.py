"""`p2pnode swarm --sim`: the same board, filled by machines in virtual time."""

from typing import TYPE_CHECKING

import trio

from p2pnode.cli.output import Output
from p2pnode.cli.session import Session, run_session
from p2pnode.cli.swarm_report import SwarmReport
from p2pnode.testbed.fleet import FleetPlan
from p2pnode.testbed.fleet_board import Board

if TYPE_CHECKING:
    from p2pnode.testbed.fleet_sim import SimFleet

STEP = 0.25
"""virtual seconds from one look at the board to the next, and to the next chance to interrupt"""


def run_virtual(output: Output, plan: FleetPlan, seed: int, duration: float) -> int:
    """Runs the swarm for that many virtual seconds; returns the exit code."""
    from p2pnode.testbed.fleet_sim import SimFleet

    board = Board(plan)

    async def command(_: Session) -> int:
        with SwarmReport(output, board) as report:
            fleet = SimFleet(plan, board, seed)
            await _play(fleet, report, duration)
            report.finish()
        return 0 if board.summary().is_whole else 1

    return run_session(command)


async def _play(fleet: "SimFleet", report: SwarmReport, duration: float) -> None:
    while (left := duration - fleet.now) > 0:
        fleet.run_for(min(STEP, left))
        report.refresh()
        await trio.lowlevel.checkpoint()
