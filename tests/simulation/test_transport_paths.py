"""Several paths and moving addresses: a stream goes on, whatever happens below it."""

from typing import Any

import pytest

from p2pnode.errors import ClosedByPeer, LocalProtocolError
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import (
    AddressObserved,
    ConnectionClosed,
    PathChanged,
    PathFailed,
    PathValidated,
)
from p2pnode.transports.noise_udp.frame import AckFrequency, PathStatus
from p2pnode.transports.noise_udp.path_validation import MAX_PROBES, PROBE_SIZE
from p2pnode.transports.route import Route
from tests.support.pair import Pair, Side
from tests.support.transfer import Transfer

WIFI = SocketAddr("192.0.2.50", 5000)
MOVED = SocketAddr("203.0.113.7", 40_000)
MOVED_AGAIN = SocketAddr("203.0.113.8", 41_000)
NOBODY = SocketAddr("203.0.113.99", 9)


def connected(**more: Any) -> Pair:
    pair = Pair(**more)
    pair.connect()
    pair.drive(seconds=1)
    return pair


def of_kind(side: Side, kind: type[Any]) -> list[Any]:
    return [e.event for e in side.events if isinstance(e.event, kind)]


def with_second_socket(**more: Any) -> tuple[Pair, Route]:
    pair = connected(**more)
    pair.client.more[1] = WIFI
    return pair, Route(SocketId(1), None, pair.server.address)


def open_second_path(pair: Pair, route: Route) -> int:
    path_id = pair.client.connection.paths.open([route], pair.now)
    pair.drive(seconds=1)
    return path_id


@pytest.mark.spec("TRANSPORT-30")
@pytest.mark.parametrize("moved", [MOVED, MOVED._replace(ip="192.0.2.1")])
def test_a_transfer_goes_on_when_a_nat_rebinds(moved: SocketAddr) -> None:
    pair = connected()
    transfer = Transfer(pair, 500_000)
    pair.drive(transfer.step, 0.06)
    assert not transfer.is_complete
    pair.translate[pair.client.address] = moved
    transfer.run()
    assert pair.server.connection.route.remote == moved
    assert of_kind(pair.client, AddressObserved)[-1].address == moved
    assert of_kind(pair.server, PathValidated)[-1].route.remote == moved


def test_a_download_goes_on_when_a_nat_rebinds_and_the_client_says_anything() -> None:
    pair = connected()
    transfer = Transfer(pair, 500_000, sender=pair.server)
    pair.drive(transfer.step, 0.06)
    pair.translate[pair.client.address] = MOVED
    pair.client.connection.ping()
    transfer.run()


@pytest.mark.spec("TRANSPORT-30")
def test_a_packet_copied_from_another_address_moves_nothing() -> None:
    pair = connected()

    def copy(sender: str, datagram: bytes) -> bool:
        if sender == "client":
            pair.inject(pair.server, datagram, MOVED)  # and the real one comes later
        return True

    pair.filter = copy
    Transfer(pair, 100_000).run()
    pair.filter = lambda sender, datagram: True
    pair.drive(seconds=20)
    assert pair.server.connection.route.remote == pair.client.address
    assert not of_kind(pair.server, ConnectionClosed)


@pytest.mark.spec("TRANSPORT-27", "TRANSPORT-29")
def test_an_address_that_does_not_answer_gets_few_and_small_probes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = connected()
    to_nobody: list[tuple[float, int]] = []
    path_id = pair.client.connection.paths.open([Route(SocketId(0), None, NOBODY)], pair.now)
    start = pair.now
    original = pair._send

    def watch(side: Side, transmit: Any) -> None:
        if transmit.remote == NOBODY:
            to_nobody.append((round(pair.now - start, 3), len(transmit.buffer)))
        original(side, transmit)

    monkeypatch.setattr(pair, "_send", watch)
    pair.drive(seconds=30)
    assert [at for at, _ in to_nobody] == [0, 0.2, 0.5, *range(1, 10)]
    assert len(to_nobody) == MAX_PROBES
    assert all(size <= PROBE_SIZE for _, size in to_nobody)
    (failed,) = of_kind(pair.client, PathFailed)
    assert failed.path_id == path_id
    Transfer(pair, 1000).run()


@pytest.mark.spec("TRANSPORT-27")
def test_a_path_is_used_only_after_a_full_sized_probe() -> None:
    pair, route = with_second_socket()
    pair.mtu = 1000
    pair.client.connection.paths.open([route], pair.now)
    pair.drive(seconds=15)
    assert not of_kind(pair.client, PathValidated)
    assert of_kind(pair.client, PathFailed)


def test_a_second_path_is_validated_by_both_sides_and_stands_by() -> None:
    pair, route = with_second_socket()
    path_id = open_second_path(pair, route)
    assert [e.path_id for e in of_kind(pair.client, PathValidated)] == [path_id]
    assert [e.path_id for e in of_kind(pair.server, PathValidated)] == [path_id]
    assert of_kind(pair.server, PathValidated)[0].route.remote == WIFI
    assert not of_kind(pair.client, PathChanged)
    Transfer(pair, 100_000).run()


@pytest.mark.spec("TRANSPORT-16", "TRANSPORT-24")
def test_paths_have_nothing_in_common_for_an_onlooker() -> None:
    pair, route = with_second_socket()
    open_second_path(pair, route)
    packets = [d for _, s, d in pair.log if s == "client" and d[0] & 0xFE == 0x80]
    first_of_id: dict[bytes, bytes] = {}
    for packet in packets:
        first_of_id.setdefault(packet[1:9], packet[9:13])
    assert len(first_of_id) == 2
    assert list(first_of_id.values())[1] == bytes(4)  # packet numbers start anew


@pytest.mark.spec("TRANSPORT-32")
def test_a_much_faster_path_takes_over() -> None:
    pair, route = with_second_socket(latency=0.05)
    pair.latency_from[WIFI] = 0.005
    path_id = open_second_path(pair, route)
    assert of_kind(pair.client, PathChanged)[0].path_id == path_id
    assert of_kind(pair.server, PathChanged)[0].path_id == path_id
    start = pair.now
    Transfer(pair, 100_000).run()
    assert pair.now - start < 0.1


@pytest.mark.spec("TRANSPORT-32")
def test_a_slightly_faster_path_changes_nothing() -> None:
    pair, route = with_second_socket(latency=0.05)
    pair.latency_from[WIFI] = 0.045
    open_second_path(pair, route)
    assert not of_kind(pair.client, PathChanged)


@pytest.mark.spec("TRANSPORT-32")
def test_a_gain_of_few_milliseconds_changes_nothing_however_large_a_part_they_are() -> None:
    pair, route = with_second_socket(latency=0.005)
    pair.latency_from[WIFI] = 0.003
    open_second_path(pair, route)
    assert not of_kind(pair.client, PathChanged)


@pytest.mark.spec("TRANSPORT-32")
def test_a_circuit_that_is_available_is_preferred_to_a_direct_path_that_stands_by() -> None:
    pair = connected()
    pair.client.more[-1] = WIFI
    pair.server.more[-1] = SocketAddr("192.0.2.60", 6000)
    open_second_path(pair, Route(SocketId(-1), None, pair.server.more[-1]))
    was_direct = not pair.server.connection.route.is_relayed
    pair.client.connection.paths._control.push(PathStatus(0, 1, is_available=False).encode())
    pair.drive(seconds=1)
    assert was_direct
    assert pair.server.connection.route.is_relayed


@pytest.mark.spec("TRANSPORT-32")
def test_a_direct_path_is_preferred_to_a_circuit() -> None:
    pair = Pair()
    pair.client.more[-1] = WIFI
    pair.server.more[-1] = SocketAddr("192.0.2.60", 6000)
    circuit = Route(SocketId(-1), None, pair.server.more[-1])
    pair.client.handle = pair.client.endpoint.dial(circuit, pair.server.peer_id, pair.now)
    pair.drive(lambda: pair.connected(pair.server))
    transfer = Transfer(pair, 500_000)
    pair.drive(transfer.step, 0.06)
    assert pair.client.connection.route.is_relayed
    direct = Route(SocketId(0), None, pair.server.address)
    pair.client.connection.paths.open([direct], pair.now)
    transfer.run()
    assert of_kind(pair.client, PathChanged)[0].reason == "a direct path works"
    assert not pair.client.connection.route.is_relayed
    assert not pair.server.connection.route.is_relayed


@pytest.mark.spec("TRANSPORT-33")
def test_a_transfer_goes_on_over_the_standby_when_its_path_dies() -> None:
    pair, route = with_second_socket(latency=0.02)
    open_second_path(pair, route)
    transfer = Transfer(pair, 2_000_000)
    pair.drive(transfer.step, 0.1)
    assert not transfer.is_complete
    died = pair.now
    old_pto = pair.client.connection.paths.active.pto(0.025)
    pair.blocked[pair.client.address] = None
    before = len(transfer.received)
    assert pair.drive(lambda: transfer.step() or len(transfer.received) > before + 100_000)
    transfer.run()
    changed = of_kind(pair.client, PathChanged)[0]
    assert changed.reason == "the path in use stopped answering"
    assert pair.now - died < 4 * old_pto + 2.0


@pytest.mark.spec("TRANSPORT-33")
def test_all_that_a_silent_path_had_under_way_leaves_at_once_by_the_new_one() -> None:
    pair, route = with_second_socket(latency=0.02)
    transfer = Transfer(pair, 2_000_000)
    pair.drive(transfer.step, 0.1)
    client = pair.client.connection
    pair.blocked[pair.client.address] = None
    assert pair.drive(lambda: transfer.step() or client.paths.active.is_suspect)
    old, before = client.paths.active, len(transfer.received)
    assert old.recovery.bytes_in_flight
    client.paths.open([route], pair.now)
    assert pair.drive(lambda: client.paths.active is not old)
    moved = pair.now

    assert old.recovery.bytes_in_flight == 0
    assert pair.drive(lambda: transfer.step() or len(transfer.received) > before)
    assert pair.now - moved < 0.1


def test_probes_of_the_responder_count_as_well() -> None:
    """For punching: both sides send to each other on the next path id, and either gets through."""
    pair, route = with_second_socket()
    handles = {side.name: side.connection for side in pair.sides}
    pair.blocked[WIFI] = None
    handles["server"].paths.probe(1, [Route(SocketId(0), None, WIFI)], pair.now)
    pair.drive(seconds=0.1)
    pair.blocked.clear()
    handles["client"].paths.open([route], pair.now)
    pair.drive(seconds=1)
    assert of_kind(pair.client, PathValidated)
    assert of_kind(pair.server, PathValidated)


@pytest.mark.spec("TRANSPORT-26")
def test_only_the_initiator_opens_paths() -> None:
    pair = connected()
    with pytest.raises(LocalProtocolError):
        pair.server.connection.paths.open([pair.server.connection.route], pair.now)


@pytest.mark.spec("TRANSPORT-26", "TRANSPORT-35")
def test_paths_can_be_opened_and_abandoned_for_ever() -> None:
    pair, route = with_second_socket()
    used = []
    for _ in range(30):
        path_id = open_second_path(pair, route)
        used.append(path_id)
        pair.client.connection.paths.abandon(path_id, 0, "test", pair.now)
        pair.drive(seconds=1)
    assert used == list(range(1, 31))
    assert list(pair.server.connection.paths.paths) == [0]
    assert len(pair.server.endpoint._ids.handle_of) < 10
    Transfer(pair, 1000).run()


@pytest.mark.spec("TRANSPORT-26")
def test_the_number_of_paths_is_bounded() -> None:
    pair = connected()
    routes = [Route(SocketId(i), None, pair.server.address) for i in range(1, 10)]
    for route in routes:
        pair.client.more[route.socket] = SocketAddr("192.0.2.70", 7000 + route.socket)
    for route in routes[:8]:
        pair.client.connection.paths.open([route], pair.now)
        pair.drive(seconds=1)
    with pytest.raises(LocalProtocolError):
        pair.client.connection.paths.open([routes[8]], pair.now)


@pytest.mark.spec("TRANSPORT-35")
def test_the_last_path_takes_the_connection_with_it() -> None:
    pair = connected()
    pair.client.connection.paths._control.push(b"\x20\x00\x00")
    pair.drive(seconds=1)
    (closed,) = of_kind(pair.client, ConnectionClosed)
    assert isinstance(closed.reason, ClosedByPeer)
    assert closed.reason.code == ErrorCode.NO_VIABLE_PATH


def test_the_peer_can_be_asked_to_leave_a_path() -> None:
    pair, route = with_second_socket()
    path_id = open_second_path(pair, route)
    standby = PathStatus(0, 1, is_available=False)
    pair.client.connection.paths._control.push(standby.encode())
    pair.drive(seconds=1)
    (changed,) = of_kind(pair.server, PathChanged)
    assert changed.path_id == path_id
    assert changed.reason == "the peer asked to leave the path"


@pytest.mark.spec("TRANSPORT-44")
@pytest.mark.parametrize(("sequence", "counts"), [(6, False), (7, False), (8, True)])
def test_what_the_peer_asks_of_a_path_counts_with_a_higher_sequence_only(
    sequence: int, counts: bool
) -> None:
    pair, route = with_second_socket()
    open_second_path(pair, route)

    def ask(number: int, *, is_available: bool) -> None:
        frame = PathStatus(0, number, is_available=is_available)
        pair.client.connection.paths._control.push(frame.encode())
        pair.drive(seconds=1)

    ask(7, is_available=False)
    ask(sequence, is_available=True)
    assert pair.server.connection.paths.paths[0].is_peer_available == counts


@pytest.mark.spec("TRANSPORT-31")
def test_a_new_ip_address_starts_the_measurements_anew() -> None:
    pair = connected()
    Transfer(pair, 1_000_000).run()
    server_path = pair.server.connection.paths.active
    Transfer(pair, 1_000_000, sender=pair.server).run()
    assert server_path.mtu.current == 1472
    pair.translate[pair.client.address] = MOVED
    pair.client.connection.ping()
    pair.drive(lambda: bool(of_kind(pair.server, PathValidated)), 5)
    assert server_path.mtu.current == 1200
    assert server_path.controller.window <= 15_000


@pytest.mark.spec("TRANSPORT-28")
def test_a_challenge_is_answered_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, route = with_second_socket()
    sent: list[tuple[int, SocketAddr]] = []
    original = pair._send

    def watch(side: Side, transmit: Any) -> None:
        if side is pair.server:
            sent.append((transmit.segment_size, transmit.remote))
        original(side, transmit)

    monkeypatch.setattr(pair, "_send", watch)
    pair.client.connection.paths.open([route], pair.now)
    pair.drive(seconds=0.025)
    assert {remote for size, remote in sent if size >= 1200} == {WIFI}


def test_an_address_may_move_again_and_again() -> None:
    pair = connected(latency=0.03)
    transfer = Transfer(pair, 3_000_000)
    pair.drive(transfer.step, 0.08)
    pair.translate[pair.client.address] = MOVED
    pair.drive(transfer.step, 0.2)
    pair.translate[pair.client.address] = MOVED_AGAIN
    transfer.run()
    assert pair.server.connection.route.remote == MOVED_AGAIN


@pytest.mark.spec("TRANSPORT-25")
@pytest.mark.parametrize(
    ("path_id", "count", "code"),
    [(0, 9, ErrorCode.CONNECTION_ID_LIMIT_ERROR), (60, 1, ErrorCode.PROTOCOL_VIOLATION)],
)
def test_too_many_connection_ids_end_the_connection(path_id: int, count: int, code: int) -> None:
    pair = connected()
    for i in range(count):
        frame = bytes((0x18, path_id, 20 + i, 0)) + i.to_bytes(8, "big") + bytes(16)
        pair.client.connection._control.push(frame)
    pair.drive(seconds=1)
    (closed,) = of_kind(pair.client, ConnectionClosed)
    assert closed.reason.code == code


def test_validation_of_everything_after_a_suspend_costs_little_and_finds_a_dead_address() -> None:
    pair = connected()
    pair.drive(seconds=1)
    pair.log.clear()
    pair.client.connection.paths.validate_all(pair.now)
    pair.drive(seconds=1)
    assert 2 <= len(pair.log) <= 6
    Transfer(pair, 1000).run()


@pytest.mark.spec("TRANSPORT-38")
def test_packets_that_are_late_for_an_abandoned_path_do_no_harm() -> None:
    """PATH_ABANDON travels the slow path while the peer's data still comes over the fast one."""
    pair, route = with_second_socket(latency=0.3)
    pair.latency_from[WIFI] = 0.02
    path_id = open_second_path(pair, route)
    transfer = Transfer(pair, 12_000_000, sender=pair.server)
    pair.drive(transfer.step, 0.4)
    assert not transfer.is_complete
    assert pair.server.connection.paths.active.path_id == path_id
    pair.client.connection.paths.abandon(path_id, 0, "test", pair.now)
    transfer.run()
    assert not of_kind(pair.server, ConnectionClosed)
    assert not of_kind(pair.client, ConnectionClosed)


def test_what_the_peer_asks_of_acks_holds_for_paths_to_come() -> None:
    pair, route = with_second_socket()
    frame = AckFrequency(0, 9, 200_000).encode()
    pair.client.connection.paths._control.push(frame)
    pair.drive(seconds=1)
    path_id = open_second_path(pair, route)
    acks = pair.server.connection.paths.paths[path_id].acks
    pair.drive(seconds=1)
    now, first = pair.now, acks.largest + 1
    for number in range(first, first + 9):
        acks.on_packet(number, True, 0, now)
    assert not acks.wants_ack(now + 0.1)
    assert acks.wants_ack(now + 0.2)


@pytest.mark.spec("TRANSPORT-43")
def test_a_path_that_will_end_is_left_as_soon_as_there_is_another_one() -> None:
    pair, route = with_second_socket()
    client = pair.client.connection
    first = client.route
    client.paths.retire(first, pair.now)
    pair.drive(seconds=1)
    assert client.route == first
    transfer = Transfer(pair, 200_000)
    path_id = open_second_path(pair, route)
    transfer.run()
    pair.drive(seconds=2)
    assert client.paths.active.path_id == path_id
    assert list(client.paths.paths) == [path_id]
    assert not of_kind(pair.client, ConnectionClosed)


@pytest.mark.spec("TRANSPORT-34")
def test_a_standby_path_is_kept_alive_by_both_sides_like_the_one_in_use() -> None:
    pair, route = with_second_socket()
    path_id = open_second_path(pair, route)
    for side in pair.sides:
        assert side.connection.paths.active.path_id != path_id
    for _ in range(4):
        pair.drive(seconds=50)
        for side in pair.sides:
            assert pair.now - side.connection.paths.paths[path_id].last_sent <= 25.5


@pytest.mark.spec("TRANSPORT-42")
def test_a_receiver_asks_for_a_sign_of_life_on_every_path() -> None:
    """The path in use may be the one that has died."""
    pair, route = with_second_socket()
    open_second_path(pair, route)
    stream_id = pair.client.connection.streams.open()
    assert stream_id is not None
    pair.client.connection.streams.write(stream_id, b"and then?")
    pair.drive(seconds=0.5)
    pair.blocked.update({pair.server.address: None})
    pair.log.clear()
    pair.drive(seconds=1)

    asked = [packet[1:9] for _, source, packet in pair.log if source == "server"]
    assert len(set(asked)) == 2
