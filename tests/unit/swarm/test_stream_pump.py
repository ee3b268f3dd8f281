"""Tests of the pump between a machine and a stream of a real connection."""

from typing import TYPE_CHECKING

import pytest

from p2pnode.clock import Deadline
from p2pnode.errors import StreamReset
from p2pnode.swarm.events import StreamOpened
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.stream_pump import MAX_UNSENT, READ_SIZE, StreamPump
from p2pnode.transports.delivery.send_stream import SEND_BUFFER_SIZE
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.scripted import PacedScript, ScriptedMachine
from tests.support.table_pair import TablePair

if TYPE_CHECKING:
    from p2pnode.swarm.swarm_stream import SwarmStream

X = "/x/1.0.0"
WINDOW = 100_000


class Pumped:
    """A machine on the far end of a stream; the near end is the test's."""

    def __init__(self, machine: ScriptedMachine | None = None) -> None:
        self.machine = machine or ScriptedMachine()
        self.pair = TablePair(near_config=TransportConfig(max_stream_data=WINDOW))
        self.pair.connect()
        self.pair.far.table.handled[X] = InboundLimit(1)
        self.near: SwarmStream = self.pair.near.open(self.pair.now, X)
        self.pair.run()
        [self.far] = [e.stream for e in self.pair.far.events if isinstance(e, StreamOpened)]
        self.pump = StreamPump(self.far, self.machine)

    def run(self, seconds: float = 1.0) -> None:
        """Pumps before and after what is on its way has arrived."""
        self.pump.pump(self.pair.now)
        self.pair.run(seconds)
        self.pump.pump(self.pair.now)
        self.pair.run(seconds)

    def flood(self) -> None:
        """The machine says more than the stream takes, and the peer reads none of it."""
        self.machine.say(bytes(SEND_BUFFER_SIZE + WINDOW + MAX_UNSENT + 1))
        self.run()


def test_bytes_and_ends_go_both_ways() -> None:
    pumped = Pumped()
    pumped.near.write(b"question")
    pumped.near.finish()
    pumped.machine.say(b"answer")
    pumped.machine.finish()
    pumped.run()

    assert (pumped.machine.received, pumped.machine.has_eof) == (b"question", True)
    assert (pumped.near.read(99), pumped.near.at_eof) == (b"answer", True)
    assert not pumped.pump.is_over


def test_an_end_is_told_once() -> None:
    pumped = Pumped()
    pumped.near.finish()
    pumped.run()
    assert pumped.machine.has_eof
    pumped.machine.has_eof = False
    pumped.run()

    assert not pumped.machine.has_eof


def test_who_says_more_than_its_peer_takes_hears_no_more_meanwhile() -> None:
    pumped = Pumped()
    pumped.flood()
    pumped.near.write(bytes(10 * READ_SIZE))
    pumped.run()
    assert pumped.machine.reads == 0

    while pumped.near.read(WINDOW):
        pumped.run(0.1)
    pumped.run()
    assert len(pumped.machine.received) == 10 * READ_SIZE


def test_of_an_echo_no_more_is_held_than_one_read_above_the_bound() -> None:
    pumped = Pumped()
    pumped.machine.on_data = pumped.machine.say
    unsent = memoryview(bytes(SEND_BUFFER_SIZE + WINDOW + 4 * MAX_UNSENT))
    for _ in range(20):
        unsent = unsent[pumped.near.write(unsent) :]
        pumped.run(0.1)
    assert not unsent

    held = len(pumped.machine.received) - SEND_BUFFER_SIZE - WINDOW
    assert MAX_UNSENT <= held < MAX_UNSENT + READ_SIZE


@pytest.mark.parametrize("end", ["read", "reset", "give up"])
def test_what_waits_for_the_stream_is_accounted_for(end: str) -> None:
    pumped = Pumped()
    held = pumped.pair.server.connection.streams.held
    pumped.flood()
    assert MAX_UNSENT < held.above < MAX_UNSENT + 100

    match end:
        case "read":
            while pumped.near.read(WINDOW):
                pumped.run(0.1)
            assert held.above == 0
        case "reset":
            pumped.near.reset(77)
        case _:
            pumped.machine.reset(1)
    pumped.run()
    assert held.above == 0


def test_a_paced_machine_is_read_while_it_says_so_and_knows_what_waits() -> None:
    machine = PacedScript()
    pumped = Pumped(machine)
    machine.is_paused = True
    pumped.near.write(b"x")
    pumped.run()
    assert machine.received == b""

    pumped.flood()
    assert machine.unsent[-1] > MAX_UNSENT
    machine.is_paused = False
    pumped.run()
    assert machine.received == b"x"


def test_what_a_machine_has_said_is_taken_before_it_is_over() -> None:
    pumped = Pumped()
    pumped.flood()
    pumped.machine.finish()
    pumped.machine.is_done = True
    pumped.run()
    assert not pumped.pump.is_over

    size = 0
    while data := pumped.near.read(WINDOW):
        size += len(data)
        pumped.run(0.1)
    assert size == SEND_BUFFER_SIZE + WINDOW + MAX_UNSENT + 1
    assert pumped.pump.is_over
    assert pumped.near.at_eof


def test_a_flush_says_and_does_not_hear() -> None:
    pumped = Pumped()
    pumped.near.write(b"question")
    pumped.pair.run()
    pumped.machine.say(b"answer")
    pumped.pump.flush(pumped.pair.now)
    pumped.pair.run()

    assert pumped.near.read(99) == b"answer"
    assert pumped.machine.received == b""


def test_a_machine_that_gives_up_gives_up_both_directions() -> None:
    pumped = Pumped()
    pumped.machine.reset(StreamResetCode.PROTOCOL_VIOLATION)
    pumped.run()

    assert pumped.pump.is_over
    with pytest.raises(StreamReset) as told:
        pumped.near.read(1)
    assert told.value.code == StreamResetCode.PROTOCOL_VIOLATION
    assert pumped.machine.reset_code is None


def test_a_machine_hears_why_its_peer_gave_up_and_what_it_said_is_dropped() -> None:
    pumped = Pumped()
    pumped.flood()
    pumped.near.reset(77)
    pumped.run()
    pumped.pump.handle_timeout(pumped.pair.now)

    assert pumped.pump.is_over
    assert pumped.machine.reset_code == 77


def test_a_lost_stream_is_broken_off_though_nothing_is_read_or_written() -> None:
    machine = PacedScript()
    machine.is_paused = True
    pumped = Pumped(machine)
    pumped.pair.client.connection.close(0, "", pumped.pair.now)
    pumped.run()
    assert not pumped.pump.is_over

    pumped.pump.break_off(pumped.pair.now)
    pumped.pump.break_off(pumped.pair.now)
    assert pumped.pump.is_over
    assert machine.reset_code == StreamResetCode.NONE


def test_a_deadline_is_the_machines_until_it_is_over() -> None:
    pumped = Pumped()
    deadline = pumped.machine.deadline = Deadline(pumped.pair.now + 5, "a test")
    assert pumped.pump.poll_timeout() == deadline
    pumped.machine.reset(0)
    pumped.pump.handle_timeout(pumped.pair.now + 5)

    assert pumped.machine.timeouts == [pumped.pair.now + 5]
    pumped.machine.deadline = deadline
    assert pumped.pump.poll_timeout() is None
