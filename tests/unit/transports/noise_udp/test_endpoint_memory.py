"""What all connections of an endpoint hold together: bounded, and the greediest give way."""

import gc
import tracemalloc

import pytest

from p2pnode.errors import ClosedByPeer
from p2pnode.machine import SocketAddr
from p2pnode.resources.account import MEMORY_STEP, Account
from p2pnode.resources.limits import ResourceLimits, Shares
from p2pnode.transports.delivery.flow_control import HELD_BACK_WINDOW, MAX_CONNECTION_WINDOW
from p2pnode.transports.delivery.held_bytes import CONNECTION_SIZE
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.endpoint_crowd import EndpointCrowd

WINDOW = 128 * 1024
MAX_HELD = 16 * 1024 * 1024
CONFIG = TransportConfig(max_data=WINDOW, max_stream_data=WINDOW)


def crowd_with(memory: int, config: TransportConfig = CONFIG) -> EndpointCrowd:
    """Returns a server that takes so many bytes for all, and a quarter of it for a network."""
    shares = Shares(total=memory, network=memory // 4, net56=memory, net48=memory, peer=memory)
    return EndpointCrowd(config, account=Account(ResourceLimits(memory=shares)))


def held_by(crowd: EndpointCrowd) -> int:
    """Returns what the server holds, counted anew."""
    connections = crowd.server.connections.values()
    return sum(CONNECTION_SIZE + connection.count_held() for connection in connections)


def send_all_but_the_first_byte(crowd: EndpointCrowd, address: SocketAddr, size: int) -> None:
    """What a client sends on a new stream is out of order for ever."""
    streams = crowd.client(address).streams
    stream_id = streams.open()
    assert stream_id is not None
    streams.sending(stream_id).next_offset = 1
    assert streams.write(stream_id, bytes(size)) == size
    crowd.run()


@pytest.mark.slow
@pytest.mark.spec("RESOURCES-21")
def test_hundreds_that_send_out_of_order_fill_no_more_than_the_bound() -> None:
    crowd = crowd_with(MAX_HELD)
    honest = crowd.connect("203.0.113.1")
    stream_id = crowd.client(honest).streams.open()
    assert stream_id is not None
    read = sent = most = 0
    attackers = []
    for n in range(300):
        attacker = crowd.connect(f"198.51.100.{n % 10}", n + 1)
        attackers.append(attacker)
        send_all_but_the_first_byte(crowd, attacker, WINDOW)
        crowd.wait(0.2)
        most = max(most, held_by(crowd))

        sent += crowd.client(honest).streams.write(stream_id, bytes(1000))
        crowd.run()
        server = crowd.server.connections[min(crowd.server.connections)]
        read += len(server.streams.read(stream_id, 10_000))
        assert read == sent

    assert MAX_HELD // 2 < most <= MAX_HELD + len(crowd.server.connections) * MEMORY_STEP
    assert crowd.end_of(honest) is None
    ends = [crowd.end_of(attacker) for attacker in attackers]
    closed = [end for end in ends if end is not None]
    assert len(closed) > 100
    assert all(isinstance(end, ClosedByPeer) for end in closed)
    assert {end.code for end in closed if isinstance(end, ClosedByPeer)} == {
        ErrorCode.EXCESSIVE_LOAD
    }
    assert any("bytes of memory for this node" in str(end) for end in closed)


@pytest.mark.spec("RESOURCES-21")
def test_one_network_that_fills_its_share_is_told_which_one_it_is() -> None:
    crowd = crowd_with(MAX_HELD)
    attackers = [crowd.connect("198.51.100.7", port) for port in range(1, 60)]
    for attacker in attackers:
        send_all_but_the_first_byte(crowd, attacker, WINDOW)
    crowd.wait(1)
    assert held_by(crowd) <= MAX_HELD // 4 + 59 * MEMORY_STEP
    ends = [end for end in map(crowd.end_of, attackers) if end is not None]
    assert ends
    assert all("bytes of memory for network 198.51.100.7" in str(end) for end in ends)


@pytest.mark.spec("RESOURCES-22")
def test_protected_peers_and_own_dials_keep_what_they_hold() -> None:
    crowd = crowd_with(MAX_HELD)
    friend = crowd.connect("198.51.100.7", 1)
    [handle] = crowd.server.connections
    crowd.server.commons.places.is_protected = {handle}.__contains__
    send_all_but_the_first_byte(crowd, friend, WINDOW)
    for port in range(2, 60):
        send_all_but_the_first_byte(crowd, crowd.connect("198.51.100.7", port), WINDOW)
    crowd.wait(1)
    assert crowd.end_of(friend) is None
    assert crowd.server.connections[handle].held_bytes > WINDOW // 2


@pytest.mark.spec("STREAM-25")
def test_where_memory_is_tight_who_holds_much_gets_a_small_window_until_it_is_not() -> None:
    config = TransportConfig(max_data=3 << 20, max_stream_data=3 << 20)
    crowd = crowd_with(7 << 19, config)
    greedy, other = crowd.connect("127.0.0.1", 1), crowd.connect("127.0.0.1", 2)
    handle, _ = crowd.server.connections
    stream_id = crowd.client(greedy).streams.open()
    assert stream_id is not None

    def write(size: int) -> None:
        assert crowd.client(greedy).streams.write(stream_id, bytes(size)) == size
        crowd.wait(0.2)

    connection = crowd.server.connections[handle]
    window = connection.streams.held.window
    write(2 << 20)
    assert window.maximum == MAX_CONNECTION_WINDOW
    write(3 << 18)
    assert window.maximum == HELD_BACK_WINDOW

    connection.streams.read(stream_id, 5 << 18)
    crowd.server.wake(handle)
    crowd.wait(0.2)
    assert window.limit == 3 << 20  # half of the usual window was read: no more is given
    assert window.maximum == MAX_CONNECTION_WINDOW
    connection.streams.read(stream_id, 3 << 20)
    crowd.server.wake(handle)
    crowd.wait(0.2)
    write(3 << 20)
    assert connection.held_bytes > HELD_BACK_WINDOW
    assert crowd.end_of(greedy) is crowd.end_of(other) is None


@pytest.mark.spec("RESOURCES-20")
def test_idle_connections_take_what_is_accounted_for_them() -> None:
    crowd = EndpointCrowd()
    crowd.connect("198.51.100.1")
    tracemalloc.start(1)
    for n in range(20):
        crowd.connect("198.51.100.2", n + 1)
    crowd.wait(1)
    crowd.at = {address: end for address, end in crowd.at.items() if end is crowd.server}
    crowd.events.clear()
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert CONNECTION_SIZE * 20 / 1.6 < memory < CONNECTION_SIZE * 20 * 1.6


def send_in_order(crowd: EndpointCrowd, address: SocketAddr, size: int) -> int:
    """Lets a client send on a new stream; returns the stream's id."""
    streams = crowd.client(address).streams
    stream_id = streams.open()
    assert stream_id is not None
    assert streams.write(stream_id, bytes(size)) == size
    crowd.run()
    return stream_id


def close_by_peer(crowd: EndpointCrowd, address: SocketAddr) -> None:
    """Lets a client close its connection, and the server forget it."""
    crowd.client(address).close(0, "done", crowd.now)
    crowd.run()
    crowd.wait(5)


@pytest.mark.spec("RESOURCES-23")
def test_what_a_peer_has_sent_counts_until_it_is_read_though_its_connection_is_over() -> None:
    crowd = crowd_with(MAX_HELD)
    peer = crowd.connect("198.51.100.7")
    [handle] = crowd.server.connections
    streams = crowd.server.connections[handle].streams
    stream_id = send_in_order(crowd, peer, WINDOW)
    answered = send_in_order(crowd, peer, 1)
    assert streams.write(answered, bytes(4 * WINDOW)) == 4 * WINDOW
    close_by_peer(crowd, peer)
    ledger = crowd.server.commons.account.memory
    assert not crowd.server.connections
    assert ledger.used == WINDOW + 1, "nothing is kept for sending"

    assert len(streams.read(stream_id, WINDOW // 2)) == WINDOW // 2
    crowd.server.wake(handle)
    assert ledger.used == WINDOW // 2 + 1
    streams.read(stream_id, WINDOW)
    crowd.server.wake(handle)
    assert ledger.used == len(ledger) == 0


@pytest.mark.spec("RESOURCES-23")
def test_unread_data_of_connections_that_are_over_fills_no_more_than_the_bound() -> None:
    crowd = crowd_with(MAX_HELD)
    held = []
    for n in range(200):
        peer = crowd.connect(f"198.51.100.{n % 10}", n + 1)
        [handle] = crowd.server.connections
        streams = crowd.server.connections[handle].streams
        held.append((streams, send_in_order(crowd, peer, WINDOW)))
        close_by_peer(crowd, peer)
        assert crowd.server.commons.account.memory.used <= MAX_HELD + MEMORY_STEP
    kept = [streams.unread for streams, _ in held]
    assert set(kept) == {0, WINDOW}
    assert MAX_HELD // 2 < sum(kept) <= MAX_HELD
    # What was dropped does not look as if it had been read to its end.
    streams, stream_id = held[kept.index(0)]
    assert not streams.at_eof(stream_id)


@pytest.mark.spec("RESOURCES-23")
def test_streams_that_nobody_holds_any_more_count_for_nothing() -> None:
    crowd = crowd_with(MAX_HELD)
    peer = crowd.connect("198.51.100.7")
    send_in_order(crowd, peer, WINDOW)
    close_by_peer(crowd, peer)
    gc.collect()
    crowd.connect("198.51.100.8")
    assert crowd.server.commons.account.memory.used < 2 * CONNECTION_SIZE
