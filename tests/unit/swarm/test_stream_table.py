"""Tests of the stream table over two endpoints: who has how many streams, and who is told what."""

from random import Random

import pytest

from p2pnode.clock import Deadline
from p2pnode.errors import (
    ClosedLocally,
    LocalProtocolError,
    P2PNodeError,
    PeerBusy,
    ProtocolNotSupported,
    StreamReset,
)
from p2pnode.protocols import identify, ping
from p2pnode.protocols.identify import IdentifyMessage
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.refusal import Resource, ScopeKind
from p2pnode.swarm.events import StreamOpened, StreamReadable, StreamWritable
from p2pnode.swarm.inbound_streams import MAX_NEGOTIATING, InboundLimit
from p2pnode.swarm.services.identify import IdentifyService
from p2pnode.swarm.services.ping import PingService
from p2pnode.swarm.swarm_stream import NEGOTIATION_TIMEOUT, SwarmStream
from p2pnode.transports.delivery.send_stream import SEND_BUFFER_SIZE
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.work import REQUEST_WORK, STREAM_WORK
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.scripted import PacedScript, ScriptedMachine, ScriptedService
from tests.support.table_pair import TablePair

WINDOW = 100_000
NARROW = TransportConfig(max_stream_data=WINDOW)


def pinging(**more: TransportConfig) -> TablePair:
    pair = TablePair(far=[PingService(Random(1).randbytes)], **more)
    pair.connect()
    return pair


def open_raw(pair: TablePair, protocol: str) -> SwarmStream:
    stream = pair.near.open(pair.now, protocol)
    pair.run()
    return stream


def pour(pair: TablePair, stream: SwarmStream, size: int) -> None:
    unsent = memoryview(bytes(size))
    for _ in range(100):
        unsent = unsent[stream.write(unsent) :]
        pair.run(0.1)
        if not unsent:
            return
    raise AssertionError("the stream takes nothing more")


def is_served(stream: SwarmStream) -> bool:
    """Whether the far side has taken the stream, and not given it up."""
    try:
        stream.read(1)
    except P2PNodeError:
        return False
    return stream.is_negotiated and not stream.at_eof


def stalled_echo(pair: TablePair) -> SwarmStream:
    """Returns a stream whose machine is over while some of the echo has no place to go."""
    stream = open_raw(pair, ping.PROTOCOL_ID)
    pour(pair, stream, SEND_BUFFER_SIZE + WINDOW + 32 * 1024)
    stream.finish()
    pair.run()
    return stream


def served(pair: TablePair) -> list[bool]:
    """Opens some streams for ping; returns which of them the far side takes."""
    return [is_served(s) for s in [open_raw(pair, ping.PROTOCOL_ID) for _ in range(5)]]


@pytest.mark.spec("SWARM-24")
def test_a_stream_counts_until_all_that_was_said_on_it_has_a_place() -> None:
    pair = pinging(near_config=NARROW)
    stalled_echo(pair)

    assert served(pair) == [True, False, False, False, False]


@pytest.mark.spec("SWARM-24")
def test_the_end_of_a_stream_that_has_stalled_counts_once() -> None:
    pair = pinging(near_config=NARROW)
    stalled = stalled_echo(pair)
    for _ in range(3 * SEND_BUFFER_SIZE // WINDOW):
        stalled.read(WINDOW)
        pair.run(0.1)
    assert stalled.at_eof

    assert served(pair) == [True, True, False, False, False]


def test_a_stalled_answer_of_identify_is_counted_once() -> None:
    own = IdentifyMessage(agent_version="x" * 3_800)
    service = IdentifyService(lambda peer, now: own, {}, 0.1)
    pair = TablePair(far=[service], near_config=TransportConfig(max_stream_data=500))
    pair.connect()
    service.on_connected(pair.far.peer, pair.now)
    stalled = open_raw(pair, identify.PROTOCOL_ID)
    answer = b""
    for _ in range(20):
        answer += stalled.read(500)
        pair.run()

    assert stalled.at_eof
    assert len(answer) > 3_800
    assert service.answered == 1


# the ends of machines


X = "/x/1.0.0"


class ScriptedPair(TablePair):
    """Both sides run a ScriptedService that takes X."""

    def __init__(self, limit: InboundLimit) -> None:
        self.asking, self.serving = ScriptedService(), ScriptedService({X: limit})
        super().__init__([self.asking], [self.serving])
        self.connect()

    def ask(self, protocol: str = X) -> ScriptedMachine:
        machine = self.asking.open(self.near.handle, protocol)
        self.run()
        return machine


def scripted(limit: int = 2) -> ScriptedPair:
    return ScriptedPair(InboundLimit(limit))


def test_both_ends_of_a_stream_that_ends_well_are_told_once() -> None:
    pair = scripted()
    ours = pair.ask()
    [theirs] = pair.serving.accepted
    ours.say(b"question")
    ours.finish()
    pair.near.table.pump_machine(pair.near.handle, ours, pair.now)
    pair.run()
    assert (theirs.received, theirs.has_eof) == (b"question", True)

    theirs.say(b"answer")
    theirs.finish()
    theirs.is_done = True
    pair.far.table.pump_machine(pair.far.handle, theirs, pair.now)
    pair.run()
    assert (ours.received, ours.has_eof) == (b"answer", True)
    ours.is_done = True
    pair.near.table.pump_machine(pair.near.handle, ours, pair.now)
    pair.run()

    assert pair.asking.of(ours) == pair.serving.of(theirs) == ["progress", "over"]
    assert pair.asking.ends(ours) == pair.serving.ends(theirs) == 1


def test_a_protocol_that_the_peer_lacks_is_a_failure_and_the_end() -> None:
    pair = scripted()
    ours = pair.ask("/none/1.0.0")

    assert pair.asking.of(ours)[-2:] == ["failed", "over"]
    assert pair.asking.ends(ours) == 1
    assert pair.asking.failures == ["the peer does not speak /none/1.0.0"]
    assert pair.serving.told == []


def test_a_stream_that_cannot_be_opened_is_a_failure_and_the_end() -> None:
    pair = scripted()
    pair.client.connection.close(0, "", pair.now)
    ours = pair.ask()

    assert pair.asking.of(ours) == ["failed", "over"]


@pytest.mark.parametrize("make", [ScriptedMachine, PacedScript])
def test_a_lost_connection_ends_every_machine_on_it_once(make: type[ScriptedMachine]) -> None:
    pair = scripted()
    pair.asking.make = pair.serving.make = make
    ours = [pair.ask(), pair.ask()]
    theirs = pair.serving.accepted
    for machine in theirs:
        if isinstance(machine, PacedScript):
            machine.is_paused = True
    pair.client.connection.close(0, "", pair.now)
    pair.run(30)

    assert [m.reset_code for m in (*ours, *theirs)] == [StreamResetCode.NONE] * 4
    assert [pair.asking.ends(m) for m in ours] == [1, 1]
    assert [pair.serving.ends(m) for m in theirs] == [1, 1]


def test_a_machines_deadline_is_the_tables() -> None:
    pair = scripted()
    ours = pair.ask()
    at = pair.now + 5.0
    ours.deadline = Deadline(at, "a test")
    pair.near.table.pump_machine(pair.near.handle, ours, pair.now)
    pair.run(10)

    assert ours.timeouts == [at]
    assert pair.asking.ends(ours) == 0


# how many streams, and what the others are told


@pytest.mark.spec("SWARM-24", "SWARM-25")
def test_one_stream_too_many_is_busy_and_not_asked_of_the_service() -> None:
    pair = scripted(limit=2)
    asked = [pair.ask() for _ in range(3)]
    assert len(pair.serving.accepted) == 2
    assert [pair.asking.ends(machine) for machine in asked] == [0, 0, 1]
    assert pair.asking.failures == [str(PeerBusy((X,)))]

    pair.serving.accepted[0].reset(0)
    pair.far.table.pump_machine(pair.far.handle, pair.serving.accepted[0], pair.now)
    pair.run()
    assert pair.asking.ends(pair.ask()) == 0
    assert pair.asking.ends(pair.ask()) == 1


@pytest.mark.spec("SWARM-25")
def test_a_request_of_a_built_in_protocol_is_paid_for() -> None:
    pair = pinging()
    work = pair.far.side.connection.work
    before = work.spent
    open_raw(pair, ping.PROTOCOL_ID)
    assert work.spent - before >= STREAM_WORK + REQUEST_WORK


def test_a_stream_that_is_not_expected_is_gated_and_not_busy() -> None:
    pair = scripted()
    pair.serving.refuses = True
    stream = open_raw(pair, X)
    with pytest.raises(StreamReset) as told:
        stream.read(1)
    assert told.value.code == StreamResetCode.GATED

    pair.serving.refuses = False
    assert [is_served(open_raw(pair, X)) for _ in range(3)] == [True, True, False]


@pytest.mark.spec("SWARM-24")
def test_another_connection_gives_a_peer_no_more_streams() -> None:
    pair = scripted(limit=1)
    assert is_served(open_raw(pair, X))
    pair.dial()
    pair.run()

    assert not is_served(open_raw(pair, X))


@pytest.mark.spec("SWARM-24", "SWARM-25")
def test_an_applications_streams_count_as_a_services() -> None:
    pair = TablePair()
    pair.connect()
    pair.far.table.handled[X] = InboundLimit(1)
    assert is_served(open_raw(pair, X))
    busy = open_raw(pair, X)
    with pytest.raises(PeerBusy) as told:
        busy.read(1)
    assert told.value.protocols == (X,)
    with pytest.raises(PeerBusy):
        busy.write(b"x")

    [taken] = [e.stream for e in pair.far.events if isinstance(e, StreamOpened)]
    pair.far.table.release(taken)
    assert is_served(open_raw(pair, X))
    assert not is_served(open_raw(pair, X))


@pytest.mark.spec("SWARM-24")
def test_what_is_handled_no_more_still_counts_until_it_is_over() -> None:
    pair = TablePair()
    pair.connect()
    pair.far.table.handled[X] = InboundLimit(1)
    assert is_served(open_raw(pair, X))
    del pair.far.table.handled[X]
    with pytest.raises(ProtocolNotSupported):
        open_raw(pair, X).read(1)
    pair.far.table.handled[X] = InboundLimit(1)

    assert not is_served(open_raw(pair, X))


@pytest.mark.spec("SWARM-7", "SWARM-25")
def test_of_streams_without_a_protocol_a_connection_has_so_many_and_no_more() -> None:
    pair = TablePair()
    pair.connect()
    pair.far.table.handled[X] = InboundLimit(256)
    streams = pair.client.connection.streams
    silent = [streams.open() for _ in range(MAX_NEGOTIATING)]
    for stream_id in silent:
        assert stream_id is not None
        streams.write(stream_id, b"\x13")
    pair.run()
    with pytest.raises(PeerBusy):
        open_raw(pair, X).read(1)

    assert silent[0] is not None
    streams.reset(silent[0], 0)
    pair.run()
    assert is_served(open_raw(pair, X))


@pytest.mark.spec("SWARM-7")
def test_streams_that_we_have_opened_take_no_place_of_the_peers() -> None:
    pair = TablePair()
    pair.connect()
    pair.far.table.handled[X] = InboundLimit(256)
    for _ in range(MAX_NEGOTIATING):
        pair.far.open(pair.now, "/never/answered")
    stream = pair.near.open(pair.now, X)
    pair.run()

    assert is_served(stream)


@pytest.mark.spec("SWARM-7")
def test_a_negotiation_that_takes_too_long_frees_its_place() -> None:
    pair = TablePair()
    pair.connect()
    streams = pair.client.connection.streams
    for _ in range(MAX_NEGOTIATING):
        stream_id = streams.open()
        assert stream_id is not None
        streams.write(stream_id, b"\x13")
    pair.run(NEGOTIATION_TIMEOUT + 1)
    pair.far.table.handled[X] = InboundLimit(1)

    assert is_served(open_raw(pair, X))
    assert pair.far.table.poll_timeout() is None


# what the application is told


def test_an_application_is_told_of_bytes_room_and_its_streams_beginning() -> None:
    pair = TablePair(far_config=NARROW)
    pair.connect()
    pair.far.table.handled[X] = InboundLimit(1)
    ours = open_raw(pair, X)
    [theirs] = [e.stream for e in pair.far.events if isinstance(e, StreamOpened)]
    assert pair.near.of(ours) == [StreamReadable, StreamWritable]  # it is agreed on
    pair.near.events.clear()

    ours.write(bytes(SEND_BUFFER_SIZE + 1))
    pair.run()
    assert pair.far.of(theirs)[-1] is StreamReadable
    while theirs.read(WINDOW):
        pair.run(0.1)
    assert StreamWritable in pair.near.of(ours)


def test_who_holds_a_stream_of_a_lost_connection_is_told_of_the_connection() -> None:
    """And so not of the stream: one fact is reported once."""
    pair = TablePair()
    pair.connect()
    pair.far.table.handled[X] = InboundLimit(1)
    ours = open_raw(pair, X)
    pair.near.events.clear()
    pair.client.connection.close(7, "bye", pair.now)
    pair.run(30)

    assert pair.near.events == []
    with pytest.raises(ClosedLocally):
        ours.read(1)
    assert not pair.near.table.has_application_streams(pair.near.handle)
    assert pair.near.table.open_streams() == pair.far.table.open_streams() == {}


def test_idle_machines_cost_others_nothing() -> None:
    pair = scripted()
    idle = [pair.ask() for _ in range(20)]
    asked: list[ScriptedMachine] = []
    for machine in idle:
        watched(machine, asked)

    for _ in range(10):
        pair.near.table.poll_timeout()
        pair.near.table.handle_timeout(pair.now)
    busy = pair.ask()
    pair.near.table.pump_machine(pair.near.handle, busy, pair.now)

    assert asked == []


def watched(machine: ScriptedMachine, asked: list[ScriptedMachine]) -> None:
    """Notes in `asked` whenever anybody looks at the machine."""

    class Watched(type(machine)):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> object:
            if name in {"poll_timeout", "poll_output", "is_done", "handle_timeout"}:
                asked.append(self)
            return super().__getattribute__(name)

    machine.__class__ = Watched


@pytest.mark.spec("RESOURCES-9")
def test_own_streams_count_while_they_are_open_and_no_more_than_there_may_be() -> None:
    pair = pinging()
    ledger = pair.near.table._ledger
    streams = [open_raw(pair, ping.PROTOCOL_ID) for _ in range(2)]
    assert (ledger.used, ledger.inbound.used) == (2, 0)
    assert pair.far.table._ledger.inbound.used == 2

    ledger.process.limit = 2
    with pytest.raises(LocalProtocolError, match="no more than 2 streams for this node"):
        pair.near.open(pair.now, ping.PROTOCOL_ID)
    assert ledger.refusals.counts == {(Resource.STREAMS, ScopeKind.PROCESS): 1}
    pair.near.table.release(streams[0])
    assert ledger.used == 1
    pair.near.table.reset(streams[1], 1)
    assert ledger.used == 0
    open_raw(pair, ping.PROTOCOL_ID)
    pair.client.connection.close(0, "", pair.now)
    pair.run()
    assert ledger.used == 0


@pytest.mark.spec("RESOURCES-9")
def test_streams_of_others_leave_one_place_in_eight_for_own_ones() -> None:
    ledger = Account(ResourceLimits()).streams
    assert ledger.inbound.limit == ledger.process.limit * 7 // 8
