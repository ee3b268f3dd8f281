"""What an authenticated peer can do wrong, and what strangers can: nothing of it may raise."""

import gc
import weakref

import pytest

from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.datagrams.control_frames import MAX_OUTSTANDING
from p2pnode.transports.datagrams.frame import (
    HandshakeDone,
    NewToken,
    PathChallenge,
    PathResponse,
    Ping,
)
from p2pnode.transports.datagrams.retired_ids import RETIRED_TIME
from p2pnode.transports.delivery.frame import stream_header
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import AddressObserved, ConnectionClosed
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.frame import (
    MaxPathId,
    NewConnectionId,
    ObservedAddress,
    PathAbandon,
    RetireConnectionId,
)
from p2pnode.transports.noise_udp.packet import STATELESS_RESET
from p2pnode.transports.noise_udp.stateless_resets import MAX_RESETS
from p2pnode.transports.route import Route
from tests.support.noise_udp import parameters
from tests.support.raw_peer import OUR_ID, RawPeer


def connected(**options):
    peer = RawPeer(**options)
    peer.connect()
    return peer


def closed(peer):
    return [e.event.reason for e in peer.events if isinstance(e.event, ConnectionClosed)]


@pytest.mark.parametrize("is_initiator", [True, False])
@pytest.mark.parametrize("aead", list(Aead))
def test_the_raw_peer_is_a_peer(is_initiator, aead):
    config = {} if is_initiator else {"our_parameters": parameters(OUR_ID, aeads=(int(aead),))}
    peer = connected(is_initiator=is_initiator, aead=aead, **config)
    assert any(isinstance(f, HandshakeDone) for p in peer.opened for f in p.frames) == is_initiator
    peer.send(stream_header(0 if is_initiator else 1, 0, True, None) + b"hello")
    assert peer.close_code is None
    assert not closed(peer)


@pytest.mark.spec("TRANSPORT-22")
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x3f", ErrorCode.FRAME_ENCODING_ERROR),
        (b"\x01\x01\x25", ErrorCode.FRAME_ENCODING_ERROR),
        (b"\x1a\x00", ErrorCode.FRAME_ENCODING_ERROR),
        (b"\x0a\x00\x05ab", ErrorCode.FRAME_ENCODING_ERROR),
        (b"\x0c\x00", ErrorCode.FRAME_ENCODING_ERROR),
        (b"", ErrorCode.PROTOCOL_VIOLATION),
    ],
)
def test_a_packet_that_is_no_sequence_of_frames_closes_the_connection(payload, code):
    peer = connected()
    peer.send(payload)
    assert peer.close_code == code
    assert len(closed(peer)) == 1


@pytest.mark.spec("TRANSPORT-23")
@pytest.mark.parametrize("frame", [HandshakeDone(), NewToken(b"token")])
def test_what_only_a_responder_sends_is_a_violation_from_an_initiator(frame):
    peer = connected()
    peer.send(frame.encode())
    assert peer.close_code == ErrorCode.PROTOCOL_VIOLATION

    peer = connected(is_initiator=False)
    peer.send(frame.encode())
    assert peer.close_code is None


@pytest.mark.spec("TRANSPORT-25")
def test_too_many_connection_ids_close_the_connection():
    peer = connected()
    for sequence in range(1, 5):
        peer.send(NewConnectionId(0, sequence, 0, bytes(8), bytes(16)).encode())
    assert peer.close_code == ErrorCode.CONNECTION_ID_LIMIT_ERROR


@pytest.mark.parametrize(
    "frame", [RetireConnectionId(0, 7), NewConnectionId(99, 0, 0, bytes(8), bytes(16))]
)
def test_connection_ids_out_of_bounds_close_the_connection(frame):
    peer = connected()
    peer.send(frame.encode())
    assert peer.close_code == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("TRANSPORT-16")
@pytest.mark.spec("TRANSPORT-18")
def test_a_packet_under_another_nonce_or_header_changes_nothing():
    peer = connected()
    close = b"\x1d\x00\x00"
    good = peer.seal(close, number=77)
    other_number = good[:9] + (78).to_bytes(4, "big") + good[13:]
    other_phase = b"\x81" + good[1:]
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for forged in (other_number, other_phase, flipped, good[:-1], good + b"\0"):
        peer.deliver(forged)
        assert not closed(peer)
    peer.deliver(good)
    assert closed(peer)


@pytest.mark.spec("TRANSPORT-1")
def test_a_datagram_of_an_unknown_first_byte_is_ignored_without_an_answer():
    peer = connected()
    before = len(peer.datagrams)
    known = {0x80, 0x81, 0x88, *range(0xA1, 0xA6)}
    stranger = SocketAddr("203.0.113.9", 9)
    for first in range(256):
        if first not in known:
            for size in (0, 20, 1199):
                peer.deliver(bytes([first]) + bytes(size), source=stranger)
    assert len(peer.datagrams) == before
    peer.send(Ping().encode() * 2)
    assert not closed(peer)


@pytest.mark.spec("TRANSPORT-5")
def test_an_initial_that_is_damaged_gets_no_answer():
    peer = RawPeer()
    peer.deliver(b"\xa1\x01\x01" + bytes(1196))
    peer.deliver(b"\xa1\x01\x01" + bytes(16) + b"\xff" + bytes(1200))
    assert peer.datagrams == []


def test_a_path_of_which_the_peer_gave_no_id_is_not_answered_and_does_no_harm():
    """Also happens to honest peers: the probe overtakes NEW_CONNECTION_ID."""
    peer = connected()
    peer.send(PathChallenge(b"12345678").encode(), path_id=1)
    peer.wait(1.0)
    peer.send(Ping().encode())
    assert not closed(peer)


def test_a_path_whose_id_comes_late_is_answered_from_then_on():
    peer = connected()
    challenge = PathChallenge(b"12345678").encode()
    peer.send(challenge, path_id=1)
    peer.send(NewConnectionId(1, 0, 0, (1).to_bytes(8, "big"), bytes(16)).encode())
    peer.send(challenge, path_id=1)
    frames = [f for packet in peer.opened if packet.path_id == 1 for f in packet.frames]
    assert PathResponse(b"12345678") in frames


@pytest.mark.spec("TRANSPORT-35")
def test_a_peer_that_gives_the_last_path_up_ends_the_connection():
    peer = connected()
    peer.send(PathAbandon(0, 0).encode())
    assert len(closed(peer)) == 1
    peer.wait(20.0)


def test_an_id_that_retires_the_one_in_use_is_followed():
    peer = connected()
    peer.send(NewConnectionId(0, 1, 1, (5).to_bytes(8, "big"), bytes(16)).encode() + b"\x01")
    assert peer.close_code is None
    peer.wait(1.0)
    assert peer.datagrams[-1][1:9] == (5).to_bytes(8, "big")


@pytest.mark.parametrize("maximum", [0, 3, (1 << 32) - 1])
def test_any_number_of_paths_may_be_allowed(maximum):
    peer = connected()
    peer.send(MaxPathId(maximum).encode())
    assert peer.close_code is None


def test_more_path_ids_than_32_bits_are_a_violation():
    peer = connected()
    peer.send(MaxPathId(1 << 32).encode())
    assert peer.close_code == ErrorCode.PROTOCOL_VIOLATION


def test_responses_that_nobody_asked_for_are_ignored():
    peer = connected()
    peer.send(PathResponse(bytes(8)).encode() * 50)
    assert peer.close_code is None


@pytest.mark.parametrize("size", [0, 1, 2, 64])
def test_a_peer_that_takes_tiny_datagrams_or_none_leaves_room_for_none_below_zero(size):
    peer = connected(our_parameters=parameters(OUR_ID, max_datagram_frame=size))
    connection = peer.endpoint.command(peer.handle)
    assert 0 <= connection.max_datagram_size <= size


def test_a_stateless_reset_of_a_stranger_is_ignored():
    peer = connected()
    peer.deliver(b"\x88" + bytes(8) + bytes(16))
    assert not closed(peer)


@pytest.mark.spec("TRANSPORT-39")
def test_a_stateless_reset_with_the_peers_token_ends_the_connection():
    peer = connected()
    peer.deliver(b"\x88" + bytes(8) + peer.parameters.reset_token)
    assert len(closed(peer)) == 1


@pytest.mark.spec("TRANSPORT-38")
def test_data_for_an_unknown_id_is_answered_with_a_shorter_reset():
    peer = RawPeer()
    peer.deliver(b"\x80" + (9).to_bytes(8, "big") + bytes(50))
    (reset,) = peer.datagrams
    assert reset[:9] == b"\x88" + (9).to_bytes(8, "big")
    assert len(reset) == 25
    peer.deliver(b"\x80" + (9).to_bytes(8, "big") + bytes(16))
    peer.deliver(reset)
    peer.deliver(b"\x90" + bytes(60))
    for kind in range(0xA1, 0xA6):
        peer.deliver(bytes([kind]) + bytes(60))
    assert peer.datagrams == [reset]


@pytest.mark.spec("TRANSPORT-38")
def test_what_came_by_a_circuit_is_answered_through_it():
    peer = RawPeer()
    stray = b"\x80" + (9).to_bytes(8, "big") + bytes(50)
    circuit = Received(SocketId(-7), None, SocketAddr("198.51.100.1", 4001), 0, len(stray), stray)
    peer.endpoint.handle_received([circuit], peer.now)

    (answer,) = peer.endpoint.poll_transmits(peer.now)
    assert answer.buffer[0] == STATELESS_RESET
    assert (answer.socket, answer.remote) == (circuit.socket, circuit.remote)


@pytest.mark.spec("TRANSPORT-38")
def test_a_packet_that_is_late_for_a_retired_id_gets_no_reset():
    peer = connected()
    late = peer.seal(Ping().encode())
    peer.send(RetireConnectionId(0, 0).encode())

    peer.deliver(late)
    peer.now += RETIRED_TIME - 0.1
    peer.deliver(late)
    in_time = [d for d in peer.datagrams if d[0] == STATELESS_RESET]
    peer.now += 0.2
    peer.deliver(late)

    assert in_time == []
    assert sum(d[0] == STATELESS_RESET for d in peer.datagrams) == 1


@pytest.mark.spec("TRANSPORT-38")
@pytest.mark.parametrize(
    ("greedy", "other"),
    [
        ("203.0.113.9", "203.0.113.10"),
        ("2001:db8:1:{}::1", "2001:db8:2::1"),
    ],
)
def test_who_provokes_resets_leaves_other_networks_theirs(greedy, other):
    peer = RawPeer()
    stray = b"\x80" + (9).to_bytes(8, "big") + bytes(50)
    for number in range(300):
        peer.deliver(stray, source=SocketAddr(greedy.format(number), 9))
    assert len(peer.datagrams) == MAX_RESETS
    peer.deliver(stray, source=SocketAddr(other, 9))
    assert len(peer.datagrams) == MAX_RESETS + 1


@pytest.mark.spec("TRANSPORT-27")
@pytest.mark.parametrize("is_newest", [True, False])
@pytest.mark.parametrize("challenges", [1, 2, 16])
def test_challenges_from_a_forged_address_do_not_bring_it_more_than_three_times_their_size(
    challenges, is_newest
):
    peer, victim = connected(), SocketAddr("203.0.113.9", 9)
    payload = b"".join(PathChallenge(bytes([n]) * 8).encode() for n in range(challenges))
    packets = [peer.seal(payload) for _ in range(20)]
    if not is_newest:
        peer.send(Ping().encode())
    probes = 12 * 100 if is_newest else 0
    for packet in packets:
        peer.deliver(packet, source=victim)
    assert peer.bytes_to[victim] <= 3 * sum(map(len, packets)) + probes


ELSEWHERE = Route(SocketId(0), None, SocketAddr("192.0.2.77", 77))


def full_of_provoked_frames():
    """Returns a peer that acknowledged nothing, one frame below what an endpoint keeps for it."""
    peer = connected(is_initiator=False)
    peer.send(NewConnectionId(1, 0, 0, bytes(8), bytes(16)).encode())
    connection = peer.endpoint.command(peer.handle)
    path_id = connection.paths.open([ELSEWHERE], peer.now)
    for sequence in range(MAX_OUTSTANDING - connection._control.outstanding):
        peer.send(RetireConnectionId(2, sequence).encode())
    assert peer.close_code is None
    assert path_id == 1
    return peer


@pytest.mark.spec("TRANSPORT-46")
@pytest.mark.parametrize(
    "command",
    [
        lambda paths, now: paths.abandon(1, 0, "of no use", now),
        lambda paths, now: paths.lose(ELSEWHERE, "its circuit is gone", now),
    ],
    ids=["abandon", "lose"],
)
def test_a_command_that_is_one_frame_too_many_ends_the_connection_and_raises_nothing(command):
    peer = full_of_provoked_frames()
    connection = peer.endpoint.command(peer.handle)

    command(connection.paths, peer.now)
    peer.drain()

    assert peer.close_code == ErrorCode.PROTOCOL_VIOLATION
    assert len(closed(peer)) == 1


def test_data_that_changes_its_path_with_every_packet_owes_each_path_one_ack():
    peer = connected()
    peer.send(NewConnectionId(1, 0, 0, bytes(8), bytes(16)).encode())
    packets = [peer.seal(Ping().encode(), path_id=number % 2) for number in range(64)]
    batch = [Received(SocketId(0), None, peer.address, 0, len(p), p) for p in packets]

    peer.endpoint.handle_received(batch, peer.now)

    paths = peer.endpoint.connections[peer.handle].paths.paths
    assert len(paths) == 2
    assert all(len(path.owed_acks) <= len(paths) for path in paths.values())


def test_a_connection_that_broke_the_protocol_is_freed_though_its_end_is_remembered():
    peer = connected()
    connection = weakref.ref(peer.endpoint.connections[peer.handle])
    gc.disable()  # whoever makes many connections must not have to wait for it
    try:
        peer.send(b"\x3f\x00")
        peer.wait(20)
        assert not peer.endpoint.connections
        assert closed(peer)
        assert connection() is None
    finally:
        gc.enable()


def test_a_connection_that_falls_silent_with_packets_on_their_way_leaves_no_cycles():
    peer = connected()
    connection = peer.endpoint.connections[peer.handle]
    gc.collect()
    gc.disable()
    try:
        peer.send(stream_header(0, 0, False, 5) + b"hello")
        connection.streams.write(0, b"never acknowledged")
        peer.endpoint.wake(peer.handle)
        peer.drain()
        paths = connection.paths.paths.values()
        assert any(path.recovery.bytes_in_flight for path in paths)
        peer.wait(60)
        assert not peer.endpoint.connections
        del connection, paths
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_of_the_addresses_that_come_together_the_last_one_counts():
    peer = connected()
    addresses = [SocketAddr("203.0.113.9", 1 + n) for n in range(80)]
    words = (ObservedAddress(0, n, address).encode() for n, address in enumerate(addresses))

    peer.send(b"".join(words))

    seen = [e.event.address for e in peer.events if isinstance(e.event, AddressObserved)]
    assert seen == [addresses[-1]]


@pytest.mark.spec("TRANSPORT-55")
def test_an_older_word_on_our_address_does_not_replace_a_newer_one():
    peer = connected()
    newer, older = SocketAddr("203.0.113.9", 2), SocketAddr("203.0.113.9", 1)

    peer.send(ObservedAddress(0, 6, newer).encode())
    for sequence in (5, 6):
        peer.send(ObservedAddress(0, sequence, older).encode())

    seen = [e.event.address for e in peer.events if isinstance(e.event, AddressObserved)]
    assert seen == [newer]


@pytest.mark.spec("TRANSPORT-55")
def test_of_two_words_that_come_together_the_newer_one_counts_though_it_comes_first():
    peer = connected()
    newer, older = SocketAddr("203.0.113.9", 2), SocketAddr("203.0.113.9", 1)

    words = ObservedAddress(0, 1, newer).encode() + ObservedAddress(0, 0, older).encode()
    peer.send(words)

    seen = [e.event.address for e in peer.events if isinstance(e.event, AddressObserved)]
    assert seen == [newer]
