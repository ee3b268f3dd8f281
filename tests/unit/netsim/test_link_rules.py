"""p2pnode/netsim/link_rules.py"""

from collections.abc import Sequence

import pytest

from p2pnode.drain import drain_once
from p2pnode.links import (
    LINK_CREDIT,
    MAX_LINK_READ,
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkClosed,
    LinkCommand,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkObstacle,
    LinkOutlet,
    LinkWritable,
    PauseLink,
    ResumeLink,
    ShutdownLink,
    WriteLink,
)
from p2pnode.machine import SocketId
from p2pnode.netsim.contract import Contract
from tests.support.datagram_machines import REMOTE, ScriptedMachine
from tests.support.link_machines import LinksOnly

OWN, THEIRS = LinkId(0), LinkId(1)
FULL = b"x" * MAX_LINK_READ


class BrokenError(Exception):
    """The contract is broken."""


class Watched:
    """A machine with links that a contract watches, and who drives it."""

    def __init__(self) -> None:
        self.machine = LinksOnly()
        self.contract = Contract(self.machine, BrokenError)

    def tell(self, *events: LinkEvent) -> None:
        self.contract.handle_link_events(events, 0.0)
        self.drain()

    def command(self, *commands: LinkCommand) -> None:
        self.machine.commands += commands
        self.drain()

    def drain(self) -> None:
        outlet = LinkOutlet(self.contract, lambda command: None)
        while drain_once(
            self.contract, 0.0, lambda transmit: None, lambda event: None, links=outlet
        ):
            pass

    def play(self, steps: Sequence[LinkEvent | LinkCommand]) -> None:
        for step in steps:
            if isinstance(step, LinkEvent):
                self.tell(step)
            else:
                self.command(step)


def accepted(link: int = THEIRS) -> LinkAccepted:
    return LinkAccepted(LinkId(link), SocketId(1), REMOTE, REMOTE)


def connect(link: int = OWN) -> ConnectLink:
    return ConnectLink(link=LinkId(link), remote=REMOTE)


CREDIT = LinkWritable(THEIRS, LINK_CREDIT)


@pytest.mark.spec("LINK-1")
@pytest.mark.spec("LINK-2")
@pytest.mark.parametrize(
    "steps",
    [
        [accepted(), CREDIT, LinkData(THEIRS, FULL), WriteLink(THEIRS, FULL), CloseLink(THEIRS)],
        [accepted(), LinkEof(THEIRS), ShutdownLink(THEIRS), LinkClosed(THEIRS, was_reset=False)],
        [accepted(), ShutdownLink(THEIRS), LinkData(THEIRS, b"a"), LinkClosed(THEIRS, True)],
        [accepted(), PauseLink(THEIRS), ResumeLink(THEIRS), LinkData(THEIRS, b"a")],
        [accepted(), ShutdownLink(THEIRS), LinkWritable(THEIRS, 1)],
        [accepted(), PauseLink(THEIRS), LinkClosed(THEIRS, was_reset=True)],
        [accepted(), accepted(3), CloseLink(THEIRS, reset=True), accepted(7)],
        [connect(), LinkConnected(OWN, REMOTE), LinkWritable(OWN, 1), WriteLink(OWN, b"a")],
        [connect(), LinkFailed(OWN, LinkObstacle.REFUSED), connect(2), connect(6)],
        [connect(), CloseLink(OWN)],
        [accepted(), LinkData(THEIRS, FULL), LinkData(THEIRS, FULL)],
    ],
)
def test_what_the_rules_of_links_allow_goes_through(
    steps: Sequence[LinkEvent | LinkCommand],
) -> None:
    watched = Watched()

    watched.play(steps)

    assert watched.machine.told == [step for step in steps if isinstance(step, LinkEvent)]
    assert watched.machine.commands == []


ENDED = [accepted(), LinkClosed(THEIRS, was_reset=True)]


@pytest.mark.spec("LINK-2")
@pytest.mark.parametrize(
    ("steps", "who"),
    [
        ([accepted(0)], "driver"),
        ([accepted(3), accepted(1)], "driver"),
        ([accepted(), CloseLink(THEIRS), accepted()], "driver"),
        ([connect(1)], "machine"),
        ([connect(2), connect(0)], "machine"),
        ([connect(), connect()], "machine"),
        ([LinkData(THEIRS, b"a")], "driver"),
        ([LinkConnected(OWN, REMOTE)], "driver"),
        ([connect(), LinkData(OWN, b"a")], "driver"),
        ([connect(), LinkWritable(OWN, 1)], "driver"),
        ([connect(), LinkConnected(OWN, REMOTE), LinkConnected(OWN, REMOTE)], "driver"),
        ([accepted(), LinkFailed(THEIRS, LinkObstacle.REFUSED)], "driver"),
        ([connect(), ShutdownLink(OWN)], "machine"),
        ([connect(), PauseLink(OWN)], "machine"),
        ([*ENDED, LinkData(THEIRS, b"a")], "driver"),
        ([*ENDED, LinkClosed(THEIRS, was_reset=True)], "driver"),
        ([*ENDED, CloseLink(THEIRS)], "machine"),
        ([*ENDED, ResumeLink(THEIRS)], "machine"),
        ([accepted(), CloseLink(THEIRS), LinkEof(THEIRS)], "driver"),
        ([accepted(), CloseLink(THEIRS), CloseLink(THEIRS)], "machine"),
        ([connect(), CloseLink(OWN), LinkConnected(OWN, REMOTE)], "driver"),
        ([connect(), LinkFailed(OWN, LinkObstacle.NO_ROUTE), CloseLink(OWN)], "machine"),
    ],
)
def test_a_link_has_one_beginning_and_one_end(
    steps: Sequence[LinkEvent | LinkCommand], who: str
) -> None:
    watched = Watched()
    watched.play(steps[:-1])

    with pytest.raises(BrokenError, match=f"the {who} "):
        watched.play(steps[-1:])


@pytest.mark.spec("LINK-3")
@pytest.mark.parametrize(
    "steps",
    [
        [accepted(), WriteLink(THEIRS, b"a")],
        [accepted(), LinkWritable(THEIRS, 2), WriteLink(THEIRS, b"abc")],
        [accepted(), CREDIT, WriteLink(THEIRS, b"a"), WriteLink(THEIRS, bytes(LINK_CREDIT))],
        [accepted(), CREDIT, WriteLink(THEIRS, b"")],
        [accepted(), CREDIT, ShutdownLink(THEIRS), WriteLink(THEIRS, b"a")],
        [accepted(), ShutdownLink(THEIRS), ShutdownLink(THEIRS)],
    ],
)
def test_a_machine_that_writes_above_its_credit_is_found_out(
    steps: Sequence[LinkEvent | LinkCommand],
) -> None:
    watched = Watched()
    watched.play(steps[:-1])

    with pytest.raises(BrokenError, match="the machine commands"):
        watched.play(steps[-1:])


@pytest.mark.spec("LINK-3")
@pytest.mark.spec("LINK-4")
@pytest.mark.parametrize(
    "steps",
    [
        [accepted(), CREDIT, LinkWritable(THEIRS, 1)],
        [accepted(), LinkWritable(THEIRS, 0)],
        [accepted(), LinkData(THEIRS, b"")],
        [accepted(), LinkData(THEIRS, FULL + b"x")],
        [accepted(), PauseLink(THEIRS), LinkData(THEIRS, b"a")],
        [accepted(), PauseLink(THEIRS), LinkEof(THEIRS)],
        [accepted(), LinkEof(THEIRS), LinkData(THEIRS, b"a")],
        [accepted(), LinkEof(THEIRS), LinkEof(THEIRS)],
        [accepted(), LinkEof(THEIRS), LinkClosed(THEIRS, was_reset=False)],
        [accepted(), ShutdownLink(THEIRS), LinkClosed(THEIRS, was_reset=False)],
    ],
)
def test_a_driver_that_tells_what_cannot_be_is_found_out(
    steps: Sequence[LinkEvent | LinkCommand],
) -> None:
    watched = Watched()
    watched.play(steps[:-1])

    with pytest.raises(BrokenError, match="the driver tells"):
        watched.play(steps[-1:])


@pytest.mark.spec("LINK-4")
def test_more_than_a_full_read_before_commands_are_taken_is_found_out() -> None:
    watched = Watched()
    watched.tell(accepted())
    watched.contract.handle_link_events([LinkData(THEIRS, FULL)], 0.0)

    with pytest.raises(BrokenError, match="the driver tells"):
        watched.contract.handle_link_events([LinkData(THEIRS, b"x")], 0.0)


def test_a_command_to_a_link_without_a_cause_is_found_out() -> None:
    watched = Watched()
    watched.tell(accepted())
    watched.machine.commands.append(CloseLink(THEIRS))

    with pytest.raises(BrokenError, match="without a cause"):
        watched.tell(CREDIT)


class Afterthought(LinksOnly):
    """Has a command more whenever it was thought to be done."""

    def poll_link_commands(self, now: float) -> list[LinkCommand]:
        commands = super().poll_link_commands(now)
        self.commands = [] if commands else [connect()]
        return commands


def test_a_command_to_a_link_after_a_complete_drain_is_found_out() -> None:
    watched = Watched()
    watched.machine = Afterthought()
    watched.contract = Contract(watched.machine, BrokenError)

    with pytest.raises(BrokenError, match="came after the drain was complete"):
        watched.drain()


def test_a_machine_without_links_is_told_of_none() -> None:
    contract = Contract(ScriptedMachine(), BrokenError)

    with pytest.raises(BrokenError, match="without links"):
        contract.handle_link_events([accepted()], 0.0)
