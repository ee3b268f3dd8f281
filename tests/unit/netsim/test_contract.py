"""p2pnode/netsim/contract.py"""

from collections.abc import Callable, Sequence

import pytest

from p2pnode.clock import Deadline, Instant
from p2pnode.drain import drain_once
from p2pnode.errors import DialError, TransportError
from p2pnode.machine import Received, Transmit, Unreachable
from p2pnode.netsim.contract import Contract
from p2pnode.netsim.topology import wire
from p2pnode.netsim.world import SimulationError
from tests.support.datagram_machines import ScriptedMachine, transmit


class BrokenError(Exception):
    """The contract is broken."""


class Talkative(ScriptedMachine):
    """Has one event more whenever it was thought to be done."""

    def poll_events(self) -> list[str]:
        events = super().poll_events()
        self.events = ["again"] if not events else []
        return events


class Restless(ScriptedMachine):
    """Its deadline is another one each time it is asked for."""

    def poll_timeout(self) -> Deadline | None:
        self.polls += 1
        return Deadline(float(self.polls), "restless")


class Hasty(ScriptedMachine):
    """Acts before its time."""

    def handle_timeout(self, now: Instant) -> None:
        self.events.append("acted")


class Stuck(ScriptedMachine):
    """Handles its deadline, and does not move it."""

    def handle_timeout(self, now: Instant) -> None:
        self.events.append("acted")


class Mistaken(ScriptedMachine):
    """Has found out that it does not know its parts."""

    def check(self) -> None:
        raise BrokenError("a part has moved")


class Raising(ScriptedMachine):
    """Whatever it is asked, once it is to."""

    def __init__(self) -> None:
        super().__init__()
        self.place = ""

    def _at(self, place: str) -> None:
        if self.place == place:
            raise ZeroDivisionError(place)

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self._at("handle_received")

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        self._at("handle_unreachable")

    def handle_timeout(self, now: Instant) -> None:
        self._at("handle_timeout")

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        self._at("poll_transmits")
        return super().poll_transmits(now)

    def poll_events(self) -> list[str]:
        self._at("poll_events")
        return super().poll_events()


def drain(contract: Contract[str], now: Instant) -> list[str]:
    told: list[str] = []
    while drain_once(contract, now, lambda transmit: None, told.append):
        pass
    return told


def watched(machine: ScriptedMachine) -> Contract[str]:
    return Contract(machine, BrokenError)


def test_a_machine_that_keeps_the_contract_is_driven_as_if_alone() -> None:
    machine = ScriptedMachine()
    contract = watched(machine)
    sent: list[Transmit] = []
    contract.handle_received([], 1.0)
    machine.out, machine.events = [transmit(b"a")], ["told"]
    machine.deadline = Deadline(2.0, "something")

    assert drain_once(contract, 1.0, sent.append, lambda event: None)
    assert drain(contract, 1.0) == []
    contract.handle_timeout(2.0)
    machine.events = ["late"]
    assert drain(contract, 2.0) == ["late"]

    assert [bytes(each.buffer) for each in sent] == [b"a"]
    assert machine.timeouts == [2.0]
    assert contract.poll_timeout() is None


def test_a_command_that_a_drain_follows_may_change_everything() -> None:
    machine = ScriptedMachine()
    contract = watched(machine)
    drain(contract, 1.0)
    machine.events, machine.deadline = ["told"], Deadline(9.0, "commanded")
    assert drain(contract, 1.5) == ["told"]
    contract.handle_received([], 2.0)


def test_what_leaves_when_the_deadline_has_passed_has_a_cause() -> None:
    machine = ScriptedMachine()
    contract = watched(machine)
    machine.deadline = Deadline(2.0, "paced")
    drain(contract, 1.0)
    machine.out = [transmit(b"paced")]
    contract.handle_received([], 2.0)
    assert machine.out


@pytest.mark.parametrize(
    "call",
    [
        lambda contract: contract.handle_received([], 1.0),
        lambda contract: contract.handle_timeout(1.0),
        lambda contract: contract.poll_transmits(1.0),
    ],
)
def test_time_that_goes_back_is_found_out(call: Callable[[Contract[str]], object]) -> None:
    contract = watched(ScriptedMachine())
    contract.handle_received([], 2.0)
    with pytest.raises(BrokenError, match=r"time went back from 2.0 to 1.0"):
        call(contract)


def test_what_comes_after_a_complete_drain_is_found_out() -> None:
    with pytest.raises(BrokenError, match=r"'?again'? came after the drain was complete"):
        drain(watched(Talkative()), 1.0)


@pytest.mark.parametrize("kind", ["event", "transmit", "deadline"])
@pytest.mark.parametrize(
    "call",
    [
        lambda contract: contract.handle_received([], 2.0),
        lambda contract: contract.handle_timeout(2.0),
    ],
)
def test_what_has_no_cause_is_found_out(kind: str, call: Callable[[Contract[str]], object]) -> None:
    machine = ScriptedMachine()
    machine.deadline = Deadline(9.0, "something")
    contract = watched(machine)
    drain(contract, 1.0)
    match kind:
        case "event":
            machine.events.append("out of nowhere")
        case "transmit":
            machine.out.append(transmit(b"out of nowhere"))
        case _:
            machine.deadline = Deadline(8.0, "something")

    with pytest.raises(BrokenError, match="without a cause, before"):
        call(contract)


def test_a_timeout_that_acts_too_early_is_found_out() -> None:
    machine = Hasty()
    machine.deadline = Deadline(9.0, "something")
    contract = watched(machine)
    drain(contract, 1.0)
    with pytest.raises(BrokenError, match="acted came without a cause, when handle_timeout"):
        contract.handle_timeout(2.0)


def test_a_deadline_that_handling_does_not_move_is_found_out() -> None:
    machine = Stuck()
    machine.deadline = Deadline(2.0, "for ever")
    contract = watched(machine)
    drain(contract, 1.0)
    contract.handle_timeout(2.0)
    with pytest.raises(BrokenError, match=r"'for ever'.* was handled, and is due still"):
        drain(contract, 2.0)


def test_a_deadline_that_moves_by_being_asked_for_is_found_out() -> None:
    with pytest.raises(BrokenError, match="moved because it was asked for"):
        drain(watched(Restless()), 0.0)


def test_a_machine_checks_itself_once_it_is_drained() -> None:
    contract = watched(Mistaken())
    with pytest.raises(BrokenError, match="a part has moved"):
        drain(contract, 0.0)


@pytest.mark.spec("NETSIM-14")
def test_every_host_watches_its_machine() -> None:
    net = wire(7)
    with pytest.raises(SimulationError, match=r"a breaks the contract of machines: .*seed 7"):
        net.a.attach(lambda host: Talkative())


@pytest.mark.spec("NETSIM-14")
@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("handle_received", lambda c: c.handle_received([], 1.0)),
        ("handle_unreachable", lambda c: c.handle_unreachable([], 1.0)),
        ("handle_timeout", lambda c: c.handle_timeout(1.0)),
        ("poll_transmits", lambda c: c.poll_transmits(1.0)),
        ("poll_events", lambda c: c.poll_events()),
    ],
)
def test_a_machine_that_raises_is_found_out(
    place: str, call: Callable[[Contract[str]], object]
) -> None:
    machine = Raising()
    contract = watched(machine)
    machine.place = place

    with pytest.raises(BrokenError, match=place):
        call(contract)


def failing(error: Exception) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.spec("NETSIM-14")
@pytest.mark.parametrize("error", [TransportError(1, "the peer's"), ZeroDivisionError("a bug")])
def test_a_command_that_raises_what_is_not_for_its_caller_is_found_out(error: Exception) -> None:
    with pytest.raises(BrokenError, match="a command raised"):
        watched(ScriptedMachine()).call(failing(error))


def test_a_command_may_tell_its_caller_what_cannot_be() -> None:
    with pytest.raises(DialError):
        watched(ScriptedMachine()).call(failing(DialError("nobody is there")))
