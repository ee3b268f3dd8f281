"""A whole endpoint against aioquic's QuicConnection, in virtual time, in both roles."""

import random

import pytest

from p2pnode.errors import ClosedByPeer, DialTimeout, HandshakeError, PeerIdMismatch
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed, TokenReceived
from p2pnode.transports.stream_events import StreamFinished, StreamReadable, StreamStoppedByPeer
from tests.support.aioquic_peer import AioquicPeer, exchange
from tests.support.identities import peer_id
from tests.support.quic import QuicEnd
from tests.support.tls import CLIENT, SERVER

BIG = random.Random(1).randbytes(2_000_000)


class Pair:
    """An endpoint of ours and aioquic, connected."""

    def __init__(self, role, lose=lambda _: False, connect=True, ours=None, theirs=None):
        is_client = role == "client"
        self.ours = QuicEnd(is_client=is_client, **(ours or {}))
        self.peer = AioquicPeer(is_client=not is_client, **(theirs or {}))
        self.ends = (self.ours, self.peer) if is_client else (self.peer, self.ours)
        self.now = 0.0
        self.lose = lose
        if connect:
            self.run(5)
            assert self.ours.is_connected
            assert self.peer.is_complete

    def run(self, seconds):
        self.now = exchange(*self.ends, self.now, seconds, self.lose)

    def send(self, data, fin=True):
        """Sends all of it on a stream of ours, as far as windows let it; returns the stream."""
        streams = self.ours.streams
        stream, sent = self.ours.command(streams.open), 0
        while sent < len(data):
            sent += self.ours.command(streams.write, stream, data[sent:])
            self.run(0.05)
        if fin:
            self.ours.command(streams.finish, stream)
        return stream

    def read(self, stream):
        return self.ours.command(self.ours.streams.read, stream, 1 << 30)


ROLES = pytest.mark.parametrize("role", ["client", "server"])


@ROLES
@pytest.mark.spec("QUIC-20")
def test_both_prove_who_they_are_and_streams_run_both_ways(role):
    pair = Pair(role)
    [connected] = pair.ours.told(Connected)
    other = {"client": SERVER, "server": CLIENT}
    own = other["server" if role == "client" else "client"]
    assert (connected.peer_id, connected.is_initiator) == (other[role].peer_id, role == "client")
    assert connected.allows_streams
    assert pair.peer.peer_id == own.peer_id
    mine = pair.send(b"question" * 1000)
    theirs = pair.peer.open_stream()
    pair.peer.send(theirs, b"answer" * 1000, fin=True)
    pair.run(1)
    assert (pair.peer.received[mine], pair.peer.ended) == (b"question" * 1000, {mine})
    assert pair.read(theirs) == b"answer" * 1000
    assert pair.ours.streams.at_eof(theirs)
    assert StreamFinished(mine) in pair.ours.events
    assert StreamReadable(theirs) in pair.ours.events


@ROLES
@pytest.mark.parametrize("seed", range(4))
def test_losses_delay_and_harm_nothing(role, seed):
    rng = random.Random(seed)
    pair = Pair(role, lose=lambda _: rng.random() < 0.08, connect=False)
    pair.run(9)
    assert pair.ours.is_connected
    stream = pair.send(BIG[:500_000])
    theirs = pair.peer.open_stream()
    pair.peer.send(theirs, BIG[:500_000], fin=True)
    got = b""
    for _ in range(400):
        pair.run(0.1)
        got += pair.read(theirs)
    assert pair.peer.received[stream] == BIG[:500_000] == got


@ROLES
@pytest.mark.parametrize("lost", range(1, 8))
def test_each_datagram_of_a_handshake_may_be_lost(role, lost):
    pair = Pair(role, lose=lambda number: number == lost)
    stream = pair.send(b"question")
    pair.run(5)
    assert pair.peer.received[stream] == b"question"


@ROLES
def test_much_data_goes_at_a_size_that_was_found_to_fit(role):
    pair = Pair(role)
    stream = pair.send(BIG)
    pair.run(2)
    assert pair.peer.received[stream] == BIG
    assert max(map(len, pair.ours.sent)) > 60_000


@ROLES
@pytest.mark.spec("QUIC-2")
def test_keys_are_changed_by_either_side(role):
    pair = Pair(role)
    for phase in (1, 2):
        assert pair.ours.command(pair.ours.connection.update_keys, pair.now)
        stream = pair.send(b"ours %d" % phase)
        pair.run(5)
        assert pair.peer.received[stream] == b"ours %d" % phase
    pair.peer.quic.request_key_update()
    theirs = pair.peer.open_stream()
    pair.peer.send(theirs, b"theirs", fin=True)
    pair.run(5)
    assert pair.read(theirs) == b"theirs"
    stream = pair.send(b"after")
    pair.run(1)
    assert pair.peer.received[stream] == b"after"
    assert pair.ours.is_connected


@pytest.mark.spec("QUIC-21")
def test_a_retry_is_answered_with_its_token():
    pair = Pair("client", theirs={"sends_retry": True})
    stream = pair.send(b"question")
    pair.run(1)
    assert pair.peer.received[stream] == b"question"


@pytest.mark.spec("QUIC-21")
def test_a_server_gives_a_token_for_the_next_time():
    pair = Pair("server")
    assert pair.peer.quic._token_handler is None
    pair.run(1)
    client = Pair("client")
    client.run(1)
    assert not client.ours.told(TokenReceived)  # aioquic's server gives none


@ROLES
def test_a_close_of_ours_is_heard_of(role):
    pair = Pair(role)
    pair.ours.command(pair.ours.connection.close, 7, "enough", pair.now)
    pair.run(1)
    assert (pair.peer.closed.error_code, pair.peer.closed.reason_phrase) == (7, "enough")
    pair.run(10)
    assert not pair.ours.endpoint.connections
    assert len(pair.ours.told(ConnectionClosed)) == 1


@ROLES
def test_a_close_of_theirs_is_told(role):
    pair = Pair(role)
    pair.peer.close(9, "goodbye")
    pair.run(10)
    [closed] = pair.ours.told(ConnectionClosed)
    assert isinstance(closed.reason, ClosedByPeer)
    assert closed.reason.code == 9
    assert not pair.ours.endpoint.connections


@ROLES
def test_resets_and_stops_go_both_ways(role):
    pair = Pair(role)
    streams = pair.ours.streams
    stream = pair.send(b"begin", fin=False)
    pair.run(1)
    pair.ours.command(streams.reset, stream, 5)
    pair.ours.command(streams.stop, stream, 6)
    pair.run(1)
    assert pair.peer.resets == {stream: 5}
    assert pair.peer.stops == {stream: 6}
    other = pair.send(b"begin", fin=False)
    pair.run(1)
    pair.peer.quic.stop_stream(other, 0)
    pair.run(1)
    assert StreamStoppedByPeer(other, 0) in pair.ours.events


@pytest.mark.spec("QUIC-20")
def test_another_peer_than_the_dialled_one_is_no_connection():
    pair = Pair("client", connect=False, ours={"expected": peer_id("somebody else")})
    pair.run(20)
    assert isinstance(pair.ours.failure, PeerIdMismatch)
    assert pair.peer.closed.error_code == 0x100 + 42
    assert not pair.ours.endpoint.connections


@pytest.mark.spec("QUIC-20")
def test_a_client_without_certificate_gets_no_connection():
    pair = Pair("server", connect=False, theirs={"shows_certificate": False})
    pair.run(20)
    assert pair.ours.events == []
    assert pair.peer.closed.error_code == 0x100 + 116
    assert not pair.ours.endpoint.connections


@pytest.mark.spec("QUIC-20")
def test_a_node_does_not_connect_to_itself():
    pair = Pair("client", connect=False, theirs={"credentials": CLIENT})
    pair.run(20)
    assert isinstance(pair.ours.failure, HandshakeError)
    pair = Pair("server", connect=False, theirs={"credentials": SERVER})
    pair.run(20)
    assert pair.ours.events == []


def test_a_dial_that_nobody_answers_fails_in_time():
    ours = QuicEnd(is_client=True)
    now = exchange(ours, QuicEnd(is_client=False, serves=False), 0.0, 9.9)
    assert not ours.told(DialFailed)
    exchange(ours, QuicEnd(is_client=False, serves=False), now, 20)
    assert isinstance(ours.failure, DialTimeout)
    assert not ours.endpoint.connections
    assert 3 <= len(ours.sent) <= 12


@ROLES
def test_silence_ends_a_connection_and_keep_alives_prevent_it(role):
    pair = Pair(role, theirs={"idle_timeout": 40.0})
    pair.run(100)
    assert pair.ours.is_connected
    pair.lose = lambda _: True
    pair.run(60)
    [closed] = pair.ours.told(ConnectionClosed)
    assert "not answered" in str(closed.reason)
