"""What the endpoint does with strangers, with packets for nobody, and with those who move."""

import random
from collections.abc import Hashable

import pytest

from p2pnode.errors import HandshakeError, ResetByPeer, TransportError
from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits, Shares
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, ConnectionClosed, TokenReceived
from p2pnode.transports.places import holder
from p2pnode.transports.quic_v1.connection_id import MAX_LOCAL_IDS
from p2pnode.transports.quic_v1.crypto_stream import (
    MAX_CRYPTO_AHEAD,
    MAX_CRYPTO_GAPS,
    CryptoStream,
)
from p2pnode.transports.quic_v1.packet import (
    PacketType,
    decode_invariants_untrusted,
    split_datagram_untrusted,
)
from p2pnode.transports.quic_v1.stateless_resets import MAX_RESETS
from p2pnode.transports.quic_v1.strangers import RETRY_THRESHOLD
from p2pnode.transports.route import Route
from p2pnode.transports.stream_events import StreamReadable
from tests.support.aioquic_peer import AioquicPeer, exchange
from tests.support.quic import QuicEnd
from tests.support.tls import CLIENT, SERVER

FLOOD = 3000


def pair(lose=lambda _: False, **server):
    client, server = QuicEnd(is_client=True), QuicEnd(is_client=False, **server)
    now = exchange(client, server, 0.0, 3, lose)
    assert client.is_connected
    assert server.is_connected
    return client, server, now


def initial(seed):
    """Returns a client's first datagram."""
    client = AioquicPeer(is_client=True)
    [datagram, *_] = client.poll(0.0)
    return datagram


def put(end, datagram, address, now):
    end.endpoint.handle_received(
        [Received(SocketId(0), None, address, 0, len(datagram), datagram)], now
    )


def kinds(datagram):
    return [packet.kind for packet in split_datagram_untrusted(datagram, 8)]


@pytest.mark.spec("QUIC-20", "QUIC-23")
def test_two_endpoints_talk_and_their_handshakes_are_over():
    client, server, now = pair()
    for end in (client, server):
        assert end.connection.handshaking.is_over
    assert client.told(Connected)[0].peer_id == SERVER.peer_id
    assert server.told(Connected)[0].peer_id == CLIENT.peer_id
    stream = client.command(client.streams.open)
    client.command(client.streams.write, stream, b"hello")
    exchange(client, server, now, 1)
    assert server.command(server.streams.read, stream, 10) == b"hello"


@pytest.mark.parametrize("seed", range(6))
def test_two_endpoints_talk_over_a_lossy_way(seed):
    rng = random.Random(seed)

    def lose(_):
        return rng.random() < 0.15

    client, server = QuicEnd(is_client=True), QuicEnd(is_client=False)
    now = exchange(client, server, 0.0, 9.5, lose)
    assert client.is_connected
    assert server.is_connected
    data = random.Random(seed).randbytes(300_000)
    stream, sent, got = client.command(client.streams.open), 0, b""
    for _ in range(300):
        sent += client.command(client.streams.write, stream, data[sent:])
        now = exchange(client, server, now, 0.2, lose)
        got += server.command(server.streams.read, stream, 1 << 20)
    assert got == data


@pytest.mark.spec("QUIC-20")
def test_a_client_is_connected_only_once_the_server_has_its_certificate():
    client, server = QuicEnd(is_client=True), QuicEnd(is_client=False)
    for datagram in client.poll(0.0):
        server.receive(datagram, 0.0)
    for datagram in server.poll(0.0):
        client.receive(datagram, 0.0)
    assert client.connection.handshaking.tls.is_complete
    assert client.events == []
    exchange(client, server, 0.0, 1)
    assert client.is_connected


@pytest.mark.spec("QUIC-22", "QUIC-29")
def test_every_initial_of_a_client_fills_its_datagram_and_a_shorter_one_begins_nothing():
    client, _, _ = pair()
    with_initial = [d for d in client.sent if PacketType.INITIAL in kinds(d)]
    assert with_initial
    assert {len(datagram) for datagram in with_initial} == {1200}
    stranger = QuicEnd(is_client=False)
    stranger.receive(client.sent[0][:1199], 0.0)
    assert stranger.poll(0.0) == []
    assert not stranger.endpoint.connections
    stranger.receive(client.sent[0], 0.0)
    assert stranger.poll(0.0)


@pytest.mark.spec("QUIC-22")
def test_an_address_that_is_not_proved_gets_three_times_what_it_sent():
    server = QuicEnd(is_client=False)
    server.receive(initial(1), 0.0)
    now, sent = 0.0, sum(map(len, server.poll(0.0)))
    while (at := server.poll_timeout()) is not None:
        now = max(now, at)
        server.handle_timeout(now)
        sent += sum(map(len, server.poll(now)))
    assert 1200 < sent <= 3600
    assert not server.endpoint.connections
    assert server.events == []


@pytest.mark.spec("QUIC-22")
@pytest.mark.parametrize("first", [2, 3])
def test_a_handshake_survives_that_all_of_a_servers_first_flights_are_lost(first):
    """The server may have nothing left to send; it is the client that goes on."""
    client, server = QuicEnd(is_client=True), QuicEnd(is_client=False)
    exchange(client, server, 0.0, 9, lose=lambda number: first <= number < first + 4)
    assert client.is_connected
    assert server.is_connected


@pytest.mark.spec("QUIC-23")
def test_what_is_kept_of_crypto_bytes_is_bounded():
    stream = CryptoStream()
    assert stream.handle(5, b"later") == b""
    assert stream.handle(0, b"first") == b"firstlater"
    assert stream.handle(0, b"firstlater") == b""
    with pytest.raises(TransportError, match="more TLS data"):
        stream.handle(10 + MAX_CRYPTO_AHEAD, b"x")
    for number in range(MAX_CRYPTO_GAPS):
        assert stream.handle(11 + 2 * number, b"x") == b""
    with pytest.raises(TransportError, match="holes"):
        stream.handle(11 + 2 * MAX_CRYPTO_GAPS, b"x")


@pytest.mark.spec("QUIC-24")
def test_a_peer_has_ids_to_spare_and_gets_others_for_those_that_it_retires():
    client, _, _ = pair()
    assert len(client.connection.local_ids.sequence_of) == MAX_LOCAL_IDS
    peer = AioquicPeer(is_client=True)
    other = QuicEnd(is_client=False)
    now = exchange(peer, other, 0.0, 1)
    before = set(other.connection.local_ids.sequence_of)
    peer.quic.change_connection_id()
    now = exchange(peer, other, now, 1)
    after = set(other.connection.local_ids.sequence_of)
    assert len(after) == len(before) == MAX_LOCAL_IDS
    assert len(before - after) == 1
    peer.send(peer.open_stream(), b"still here")
    exchange(peer, other, now, 1)
    assert other.command(other.streams.read, 0, 100) == b"still here"


@pytest.mark.spec("QUIC-25")
@pytest.mark.parametrize("address", [SocketAddr("192.0.2.7", 9999), SocketAddr("198.51.100.3", 1)])
def test_a_client_whose_nat_forgets_it_is_followed(address):
    peer, server = AioquicPeer(is_client=True), QuicEnd(is_client=False)
    now = exchange(peer, server, 0.0, 1)
    server.remote = address
    stream = peer.open_stream()
    peer.send(stream, b"from elsewhere")
    now = exchange(peer, server, now, 1)
    assert server.connection.route.remote == address
    server.command(server.streams.write, stream, b"found you" * 10_000)
    exchange(peer, server, now, 3)
    assert peer.received[stream] == b"found you" * 10_000


@pytest.mark.spec("QUIC-25")
def test_an_address_that_does_not_answer_is_not_followed():
    client, server, now = pair()
    home = server.connection.route
    client.command(client.connection.ping)
    [stolen] = client.poll(now)
    put(server, stolen, SocketAddr("203.0.113.9", 9), now)
    before = len(server.sent)
    server.poll(now)
    spent = sum(map(len, server.sent[before:]))
    assert spent <= 3 * len(stolen) + 100
    exchange(client, server, now, 10)
    assert server.connection.route == home


@pytest.mark.spec("QUIC-26")
def test_a_connection_without_traffic_stays_and_one_without_answers_ends():
    client, server, now = pair()
    before = len(client.sent) + len(server.sent)
    now = exchange(client, server, now, 120)
    assert client.is_connected
    assert 8 <= len(client.sent) + len(server.sent) - before <= 40
    exchange(client, server, now, 60, lose=lambda _: True)
    assert client.told(ConnectionClosed)
    assert server.told(ConnectionClosed)
    assert not client.endpoint.connections


@pytest.mark.spec("QUIC-27")
def test_a_close_during_the_handshake_says_no_more_than_it_may():
    client = QuicEnd(is_client=True)
    peer = AioquicPeer(is_client=False)
    for datagram in client.poll(0.0):
        peer.receive(datagram, 0.0)
    client.command(client.connection.close, 7, "secret", 0.0)
    for datagram in client.poll(0.0):
        peer.receive(datagram, 0.0)
    exchange(client, peer, 0.0, 5)
    assert (peer.closed.error_code, peer.closed.reason_phrase) == (12, "")


@pytest.mark.spec("QUIC-28")
def test_a_peer_that_has_forgotten_a_connection_says_so():
    client, _, now = pair()
    reborn = QuicEnd(is_client=False, now=now)
    client.command(client.connection.ping)
    exchange(client, reborn, now, 5)
    [closed] = client.told(ConnectionClosed)
    assert isinstance(closed.reason, ResetByPeer)


@pytest.mark.spec("QUIC-28")
def test_resets_have_the_token_that_was_given_are_shorter_and_few():
    peer, server = AioquicPeer(is_client=True), QuicEnd(is_client=False)
    now = exchange(peer, server, 0.0, 1)
    reborn = QuicEnd(is_client=False, now=now)
    peer.send(peer.open_stream(), b"x" * 100)
    [datagram, *_] = peer.poll(now)
    reborn.receive(datagram, now)
    [reset] = reborn.poll(now)
    assert len(reset) < len(datagram)
    for _ in range(2 * MAX_RESETS):
        reborn.receive(datagram, now)
    assert len(reborn.poll(now)) == MAX_RESETS - 1
    assert reset[-16:] == peer.quic._peer_cid.stateless_reset_token


@pytest.mark.spec("QUIC-29")
def test_another_version_is_told_which_one_there_is():
    server = QuicEnd(is_client=False)
    datagram = bytearray(initial(1))
    datagram[1:5] = b"\x1a\x2a\x3a\x4a"
    server.receive(bytes(datagram), 0.0)
    [answer] = server.poll(0.0)
    header = decode_invariants_untrusted(answer)
    asked = decode_invariants_untrusted(bytes(datagram))
    assert (header.version, header.source, header.destination) == (
        0,
        asked.destination,
        asked.source,
    )
    assert answer[header.end :] == b"\0\0\0\1"
    assert not server.endpoint.connections


@pytest.mark.spec("QUIC-29")
def test_a_dial_to_a_peer_of_other_versions_fails_and_says_why():
    client = QuicEnd(is_client=True)
    [datagram, *_] = client.poll(0.0)
    asked = decode_invariants_untrusted(datagram)

    def answer(version):
        ids = bytes((8,)) + asked.source + bytes((8,)) + asked.destination
        return b"\xc0\0\0\0\0" + ids + version

    client.receive(answer(b"\0\0\0\1"), 0.0)  # which nobody would send
    assert client.events == []
    client.receive(answer(b"\x6b\x33\x43\xcf"), 0.0)
    assert isinstance(client.failure, HandshakeError)
    client.poll(0.0)
    assert not client.endpoint.connections


@pytest.mark.spec("QUIC-30", "QUIC-21")
def test_a_flood_of_forged_initials_grows_nothing_and_harms_nobody():
    client, server, now = pair()
    datagrams = [initial(n) for n in range(200)]
    for number in range(FLOOD):
        address = SocketAddr(f"10.{number % 250}.{number // 250}.1", 4001)
        put(server, datagrams[number % 200], address, now)
    assert len(server.endpoint.connections) <= RETRY_THRESHOLD + 1
    while server.poll_timeout() is not None and server.poll_timeout() <= now + 0.5:
        now = server.poll_timeout()
        server.handle_timeout(now)
    answers = server.poll(now)
    retries = [d for d in answers if d[0] & 0xF0 == 0xF0]
    assert len(retries) > FLOOD / 10
    assert max(map(len, retries)) < 200
    stream = client.command(client.streams.open)
    client.command(client.streams.write, stream, b"ping")
    exchange(client, server, now, 2)
    assert StreamReadable(stream) in server.events
    late = AioquicPeer(is_client=True)
    server.remote = SocketAddr("198.18.0.1", 4001)
    exchange(late, server, now, 3)
    assert late.is_complete  # by way of a Retry
    exchange(late, server, now + 3, 60)
    assert len(server.endpoint.connections) <= 2


@pytest.mark.spec("QUIC-30")
def test_the_handshakes_of_one_network_have_a_share():
    limits = ResourceLimits()
    commons = Commons(Account(limits))
    server = QuicEnd(is_client=False, commons=commons)
    for number in range(2 * limits.half_open.network):
        put(server, initial(number), SocketAddr("192.0.2.66", 1000 + number), 0.0)
    assert commons.account.half_open.used <= limits.half_open.network
    assert commons.account.half_open.used == len(server.endpoint.connections)


@pytest.mark.spec("QUIC-30")
def test_its_handshakes_make_room_for_those_of_other_transports():
    commons = Commons(Account(ResourceLimits()))
    server = QuicEnd(is_client=False, commons=commons)
    for number in range(3):
        put(server, initial(number), SocketAddr("192.0.2.66", 1000 + number), 0.0)
    newest = max(server.endpoint.connections)
    assert commons.account.end_newest_half_open()
    assert newest not in server.endpoint.connections
    assert commons.account.half_open.used == len(server.endpoint.connections) == 2
    server.poll(0.0)
    server.endpoint.check()


@pytest.mark.spec("QUIC-30")
@pytest.mark.parametrize("gives_way", [True, False])
def test_those_of_other_transports_make_room_for_its_own_or_keep_it(gives_way: bool):
    shares = Shares(total=3, network=3, net56=3, net48=3, peer=4)
    account = Account(ResourceLimits(half_open=shares))
    server = QuicEnd(is_client=False, commons=Commons(account))
    crowd = holder(Route(SocketId(0), None, SocketAddr("203.0.113.1", 1)))
    for name in ("one", "two", "three"):
        account.half_open.put(name, crowd)

    def end(member: Hashable) -> bool:
        if gives_way and member in account.half_open:
            account.half_open.give_back(member)
        return gives_way

    account.let_half_open_end(end)
    client = QuicEnd(is_client=True)
    exchange(client, server, 0.0, 3)
    assert bool(client.told(Connected)) == gives_way
    assert ("three" in account.half_open) != gives_way


@pytest.mark.spec("RESOURCES-23")
def test_unread_data_of_a_connection_that_is_over_goes_for_others_sake():
    commons = Commons(Account(ResourceLimits()))
    client, server, now = pair(commons=commons)
    [handle] = server.endpoint.connections
    stream = client.command(client.streams.open)
    client.command(client.streams.write, stream, bytes(100_000))
    now = exchange(client, server, now, 2)
    streams = server.streams
    server.connection.close(0, "", now)
    server.endpoint.wake(handle)
    exchange(client, server, now, 30)
    assert not server.endpoint.connections
    assert streams.unread == 100_000
    assert commons.account.memory.used > 0

    server.endpoint.turn_out(handle, "its memory is needed for others", now)
    assert streams.unread == commons.account.memory.used == 0


@pytest.mark.spec("QUIC-21")
def test_a_token_of_an_earlier_connection_lets_a_client_in_at_once():
    client, server, now = pair()
    [given] = client.told(TokenReceived)
    for number in range(RETRY_THRESHOLD + 5):
        put(server, initial(number), SocketAddr(f"10.1.{number}.1", 4001), now)
    server.poll(now)
    for token, kind in ((b"", PacketType.RETRY), (given.token, PacketType.INITIAL)):
        again = QuicEnd(is_client=True, token=token, now=now)
        for datagram in again.poll(now):
            put(server, datagram, SocketAddr("192.0.2.7", 4002), now)
        assert kind in {k for d in server.poll(now) for k in kinds(d)}


def test_cancelled_dials_and_garbage_leave_nothing():
    client = QuicEnd(is_client=True)
    client.poll(0.0)
    client.endpoint.cancel_dial(client.handle)
    assert client.poll(0.0) == []
    assert client.events == []
    assert not client.endpoint.is_active
    rng = random.Random(5)
    server = QuicEnd(is_client=False)
    for size in (1, 5, 20, 21, 30, 1200, 1500):
        for first in (0x40, 0x7F, 0xC0, 0xD0, 0xE0, 0xF0, 0xFF):
            for version in (b"\0\0\0\1", b"\0\0\0\0", b"\1\2\3\4"):
                server.receive((bytes((first,)) + version + rng.randbytes(size))[:size], 0.0)
    server.poll(0.0)
    assert not server.endpoint.connections
