"""A bug that is met while one connection is served: it costs that one, and nobody else."""

import pytest

from p2pnode.errors import ClosedByFault, LocalProtocolError, ResetByPeer, TransportError
from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import ConnectionClosed, DialFailed
from p2pnode.transports.faults import MAX_FAULTS, Fault, Faults
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.pair import Pair, make_endpoint
from tests.support.raw_peer import RawPeer

BUG = ZeroDivisionError("a bug")


def fail(*_: object, **__: object) -> None:
    raise BUG


class Isolating(Pair):
    """A server that isolates faults, and a client with two connections to it."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults(is_raising=False)
        self.server.endpoint, self.server.peer_id = make_endpoint(
            "server", config=TransportConfig(), now=self.now, seed=1, faults=self.faults
        )
        self.connect()
        self.faulty = self.server.connection
        self.faulty_handle = self.server.handle
        self.client_handles = [self.client.handle]
        self.dial()
        self.drive(seconds=1.0)
        self.client_handles.append(self.client.handle)
        assert len(self.server.endpoint.connections) == 2

    def closed(self, side: object) -> list[tuple[int, object]]:
        return [
            (e.handle, e.event.reason) for e in side.events if isinstance(e.event, ConnectionClosed)
        ]

    def still_works(self) -> bool:
        """Whether the other connection carries data."""
        (server_handle,) = self.server.endpoint.connections
        client = self.client.endpoint.command(self.client_handles[1])
        stream_id = client.streams.open()
        client.streams.write(stream_id, b"here")
        server = self.server.endpoint.connections[server_handle]
        return self.drive(lambda: server.streams.read(stream_id, 10) == b"here", seconds=5.0)


PLACES = ["handle_received", "handle_timeout", "poll_transmits", "poll_events", "poll_timeout"]


@pytest.mark.spec("TRANSPORT-54")
@pytest.mark.parametrize("place", PLACES)
def test_a_bug_of_one_connection_ends_it_and_nothing_else(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Isolating()
    monkeypatch.setattr(pair.faulty, place, fail)

    for handle in pair.client_handles:
        pair.client.endpoint.command(handle).ping()
    pair.drive(seconds=60.0)

    ((handle, reason),) = pair.closed(pair.server)
    assert handle == pair.faulty_handle
    assert isinstance(reason, ClosedByFault)
    assert reason.fault is BUG
    assert pair.faults.poll() == [Fault(handle, BUG)]
    assert pair.still_works()
    # The peer of the one that ended is told, or finds out with its next packet.
    assert [handle for handle, _ in pair.closed(pair.client)] == pair.client_handles[:1]


def test_who_holds_a_stream_of_it_is_told_why_there_is_nothing_more() -> None:
    pair = Isolating()

    pair.server.endpoint.break_off(pair.faulty_handle, BUG, pair.now)

    assert isinstance(pair.faulty.close_reason, ClosedByFault)


@pytest.mark.spec("TRANSPORT-54")
def test_the_rest_of_a_batch_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Isolating()
    packets = list[Received]()
    pair.filter = lambda sender, datagram: sender != "client"
    for handle in pair.client_handles:
        pair.client.endpoint.command(handle).ping()
    for transmit in pair.client.endpoint.poll_transmits(pair.now):
        packets.append(
            Received(
                SocketId(0), None, pair.client.address, 0, len(transmit.buffer), transmit.buffer
            )
        )
    joined = packets[0].buffer + packets[1].buffer
    assert len(packets) == 2
    monkeypatch.setattr(pair.faulty, "handle_received", fail)
    (other,) = (c for c in pair.server.endpoint.connections.values() if c is not pair.faulty)
    before = other.last_received

    pair.now += 0.5
    batch = packets[0]._replace(buffer=joined, segment_size=len(packets[0].buffer))
    pair.server.endpoint.handle_received([batch], pair.now)

    assert other.last_received == pair.now > before


@pytest.mark.spec("TRANSPORT-54")
def test_a_bug_that_a_command_meets_ends_the_connection_that_it_was_given() -> None:
    pair = Isolating()

    with pair.server.endpoint.commanding(pair.faulty_handle, pair.now):
        fail()

    pair.drive(seconds=5.0)
    assert [handle for handle, _ in pair.closed(pair.server)] == [pair.faulty_handle]
    assert pair.still_works()


@pytest.mark.spec("TRANSPORT-54")
def test_a_violation_that_a_command_meets_is_told_to_the_peer() -> None:
    peer = RawPeer()
    peer.connect()

    with peer.endpoint.commanding(peer.handle, peer.now):
        raise TransportError(ErrorCode.NO_VIABLE_PATH, "no path is left")

    peer.drain()
    assert peer.close_code == ErrorCode.NO_VIABLE_PATH


def test_what_a_caller_may_not_ask_for_is_for_the_caller() -> None:
    peer = RawPeer()
    peer.connect()

    with pytest.raises(LocalProtocolError), peer.endpoint.commanding(peer.handle, peer.now):
        raise LocalProtocolError("not now")

    peer.drain()
    assert peer.close_code is None


def test_the_peer_of_a_connection_that_cannot_even_say_so_gets_a_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Isolating()
    monkeypatch.setattr(pair.faulty, "poll_transmits", fail)
    monkeypatch.setattr(pair.faulty, "handle_received", fail)

    pair.client.endpoint.command(pair.client_handles[0]).ping()
    pair.drive(seconds=60.0)

    ((_, reason),) = pair.closed(pair.client)
    assert isinstance(reason, ResetByPeer)


@pytest.mark.spec("TRANSPORT-54")
@pytest.mark.parametrize("name", ["_on_initial", "_on_stray_data"])
def test_a_bug_that_a_strangers_datagram_meets_costs_that_datagram(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Isolating()
    monkeypatch.setattr(pair.server.endpoint, name, fail)

    for first in (b"\x40", b"\x60", b"\x80", b"\xc0"):
        pair.inject(pair.server, first + bytes(1300), SocketAddr("192.0.2.66", 1))
    pair.dial()
    pair.drive(seconds=1.0)

    found = pair.faults.poll()
    assert found == [Fault(None, BUG)] * len(found)
    assert found
    assert not pair.closed(pair.server)


@pytest.mark.spec("TRANSPORT-54")
def test_a_bug_that_the_making_of_a_connection_meets_costs_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Isolating()
    places = pair.server.endpoint.commons.places.taken
    for side in (pair.server, pair.client):
        monkeypatch.setattr(side.endpoint, "_make", fail)
    pair.dial()
    pair.client.endpoint._faults.is_raising = False

    pair.drive(seconds=30.0)

    assert pair.server.endpoint.commons.places.taken == places
    assert [type(f.reason) for f in pair.failures(pair.client)] == [ClosedByFault]
    monkeypatch.undo()
    assert len(pair.server.endpoint.connections) == 2


@pytest.mark.spec("TRANSPORT-54")
def test_a_bug_of_a_dial_ends_that_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(is_raising=False)
    pair = Pair()
    pair.client.endpoint, _ = make_endpoint(
        "client", config=TransportConfig(), now=pair.now, seed=1, faults=faults
    )
    monkeypatch.setattr("p2pnode.transports.noise_udp.dialing.Dialing.poll_packet", fail)

    pair.dial()
    pair.drive(seconds=1.0)

    assert [type(e.event) for e in pair.client.events] == [DialFailed]
    assert [type(fault.error) for fault in faults.poll()] == [ZeroDivisionError]


@pytest.mark.parametrize("place", PLACES)
def test_where_nothing_is_isolated_a_bug_is_raised(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair()
    pair.connect()
    monkeypatch.setattr(pair.server.connection, place, fail)
    pair.client.connection.ping()

    with pytest.raises(ZeroDivisionError):
        pair.drive(seconds=60.0)


def test_faults_that_nobody_asks_for_are_bounded() -> None:
    faults = Faults(is_raising=False)
    for number in range(MAX_FAULTS + 1):
        faults.take(BUG, number)

    assert [fault.connection for fault in faults.poll()] == list(range(1, MAX_FAULTS + 1))
    assert faults.poll() == []
