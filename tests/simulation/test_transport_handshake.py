"""Handshakes between two live endpoints: loss, duplication, forgery, load (specs/transport.md)."""

import pytest

from p2pnode.errors import DialError, HandshakeError, PeerIdMismatch
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.transports.events import AddressObserved, Connected, TokenReceived
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.incoming import MAX_EARLY_PACKETS, RETRY_THRESHOLD
from p2pnode.transports.noise_udp.packet import MIN_INITIAL_SIZE, HandshakeType, VersionNegotiation
from p2pnode.transports.route import Route
from tests.support.pair import Pair, Side, make_endpoint, seeded_entropy
from tests.support.transfer import Transfer

STRANGER = SocketAddr("198.18.0.9", 999)


def kinds(pair: Pair, name: str) -> list[int]:
    """First bytes of what a side has sent."""
    return [datagram[0] for _, sender, datagram in pair.log if sender == name]


def somebody() -> PeerId:
    return PeerId.from_public_key(PrivateKey.generate(seeded_entropy("else")).public_key)


def test_a_connection_takes_one_round_trip_and_the_request_half_a_one_more() -> None:
    pair = Pair(latency=0.05)
    pair.dial()
    assert pair.drive(lambda: pair.connected(pair.client))
    assert pair.now == pytest.approx(100.1)
    stream = pair.client.connection.streams.open()
    assert stream is not None
    pair.client.connection.streams.write(stream, b"request")
    assert pair.drive(lambda: pair.connected(pair.server))
    assert pair.now == pytest.approx(100.15)
    assert pair.server.connection.streams.read(stream, 100) == b"request"


@pytest.mark.spec("TRANSPORT-10")
@pytest.mark.parametrize("lost", [HandshakeType.INITIAL, HandshakeType.RESPONSE])
def test_a_lost_first_or_second_message_costs_half_a_second(lost: int) -> None:
    pair = Pair()
    dropped: list[bytes] = []

    def drop_first(sender: str, datagram: bytes) -> bool:
        if datagram[0] == lost and not dropped:
            dropped.append(datagram)
            return False
        return True

    pair.filter = drop_first
    pair.dial()
    assert pair.drive(lambda: pair.connected(pair.server))
    assert pair.now == pytest.approx(100.53)
    initials = [d for _, _, d in pair.log if d[0] == HandshakeType.INITIAL]
    assert len(initials) == 2
    assert initials[0] == initials[1]


@pytest.mark.spec("TRANSPORT-10")
def test_message_3_is_repeated_until_the_responder_answers() -> None:
    pair = Pair()
    pair.filter = lambda sender, datagram: (
        not (datagram[0] == HandshakeType.FINAL and kinds(pair, "client").count(datagram[0]) < 3)
    )
    pair.connect()
    Transfer(pair, 10_000).run()
    finals = [d for _, _, d in pair.log if d[0] == HandshakeType.FINAL]
    size = int.from_bytes(finals[0][10:12], "big") + 12
    assert len({d[:size] for d in finals}) == 1
    before = len(finals)
    Transfer(pair, 10_000).run()
    assert kinds(pair, "client").count(HandshakeType.FINAL) == before


@pytest.mark.spec("TRANSPORT-11")
def test_data_that_overtakes_message_3_is_kept_within_bounds() -> None:
    pair = Pair()
    pair.connect()
    pair.drive(lambda: False, 0.2)
    tokens = [e.event.token for e in pair.client.events if isinstance(e.event, TokenReceived)]
    pair.client.events.clear()
    pair.server.events.clear()
    held: list[bytes] = []

    def hold_final(sender: str, datagram: bytes) -> bool:
        if datagram[0] == HandshakeType.FINAL and not held:
            held.append(datagram)
            return False
        return True

    pair.filter = hold_final
    pair.dial(token=tokens[0])
    pair.drive(lambda: pair.connected(pair.client))
    transfer = Transfer(pair, 30_000)
    pair.drive(transfer.step, 0.05)
    assert not pair.connected(pair.server)
    pair.inject(pair.server, held[0], pair.client.address)
    pair.flush()
    assert pair.connected(pair.server)
    transfer.step()
    # the first packet came with message 3; it and those that were kept are contiguous
    assert 9 * 1100 < len(transfer.received) <= (MAX_EARLY_PACKETS + 1) * MIN_INITIAL_SIZE
    transfer.run()


@pytest.mark.spec("TRANSPORT-7")
def test_a_duplicate_of_message_1_gets_the_same_message_2() -> None:
    pair = Pair()
    pair.duplication = 1.0
    pair.filter = lambda sender, datagram: datagram[0] != HandshakeType.FINAL
    pair.dial()
    pair.drive(seconds=0.1)
    responses = [d for _, _, d in pair.log if d[0] == HandshakeType.RESPONSE]
    assert len(responses) == 2
    assert responses[0] == responses[1]


def test_duplicates_make_one_connection() -> None:
    pair = Pair()
    pair.duplication = 1.0
    pair.connect()
    Transfer(pair, 50_000).run()
    assert len(pair.server.endpoint.connections) == 1
    assert sum(isinstance(e.event, Connected) for e in pair.server.events) == 1


@pytest.mark.spec("TRANSPORT-12")
def test_a_stranger_gets_at_most_three_times_what_it_sent() -> None:
    pair = Pair()
    pair.filter = lambda sender, datagram: sender != "server"
    pair.dial()
    pair.drive(seconds=9.0)
    sent = sum(len(d) for _, sender, d in pair.log if sender == "server")
    received = sum(len(d) for _, sender, d in pair.log if sender == "client")
    assert 0 < sent <= 3 * received


@pytest.mark.spec("TRANSPORT-3", "TRANSPORT-5")
def test_noise_from_strangers_gets_no_answer() -> None:
    pair = Pair()
    rng = pair.rng
    pair.dial()
    initial = pair.client.endpoint.poll_transmits(pair.now)[0].buffer
    for first in range(256):
        if first not in (0x80, 0x81):
            pair.inject(pair.server, bytes([first]) + rng.randbytes(1300), STRANGER)
        pair.inject(pair.server, bytes([first]), STRANGER)
    pair.inject(pair.server, bytes(initial)[:1199], STRANGER)
    pair.inject(pair.server, b"", STRANGER)
    answers = pair.server.endpoint.poll_transmits(pair.now)
    # random bytes may look like an Initial of an unknown version: that has an answer of its own
    assert all(t.buffer[0] == HandshakeType.VERSION_NEGOTIATION for t in answers)
    assert len(answers) <= 1


@pytest.mark.spec("TRANSPORT-6", "TRANSPORT-9")
def test_the_wrong_peer_is_reported_when_nobody_better_answers() -> None:
    pair = Pair()
    expected = somebody()
    pair.dial(expected=expected)
    assert pair.drive(lambda: bool(pair.failures(pair.client)), 20)
    (failure,) = pair.failures(pair.client)
    assert isinstance(failure.reason, PeerIdMismatch)
    assert failure.reason.expected == expected
    assert failure.reason.actual == pair.server.peer_id
    assert pair.now == pytest.approx(102.02)  # the right peer has had two more seconds


@pytest.mark.spec("TRANSPORT-9")
def test_the_wrong_peer_on_a_slow_path_is_reported_no_later_than_two_seconds_after_it() -> None:
    pair = Pair(latency=1.8)
    pair.dial(expected=somebody())
    assert pair.drive(lambda: bool(pair.failures(pair.client)), 20)
    assert pair.now == pytest.approx(105.6)


@pytest.mark.spec("TRANSPORT-9")
def test_a_racer_with_another_identity_cannot_end_a_dial() -> None:
    pair = Pair()
    racer, _ = make_endpoint("racer", config=TransportConfig(), now=pair.now, seed=9)
    pair.dial()
    initial = pair.client.endpoint.poll_transmits(pair.now)[0]
    received = Received(SocketId(0), None, pair.client.address, 0, MIN_INITIAL_SIZE, initial.buffer)
    racer.handle_received([received], pair.now)
    answer = racer.poll_transmits(pair.now)[0].buffer
    pair.inject(pair.client, bytes(answer), pair.server.address)
    assert not pair.failures(pair.client)
    assert pair.drive(lambda: pair.connected(pair.server), 5)
    assert pair.server.connection.peer_id == pair.client.peer_id


@pytest.mark.spec("TRANSPORT-15")
def test_a_foreign_version_is_reported_when_nobody_better_answers() -> None:
    pair = Pair()
    pair.dial()
    initial = bytes(pair.client.endpoint.poll_transmits(pair.now)[0].buffer)
    source = int.from_bytes(initial[11:19], "big")
    pair.inject(pair.client, VersionNegotiation(source, (1, 7)).encode(), pair.server.address)
    pair.filter = lambda sender, datagram: False
    pair.inject(pair.client, VersionNegotiation(source, (7,)).encode(), pair.server.address)
    assert pair.drive(lambda: bool(pair.failures(pair.client)), 20)
    assert isinstance(pair.failures(pair.client)[0].reason, HandshakeError)


def test_nobody_there_is_reported_after_ten_seconds() -> None:
    pair = Pair()
    pair.filter = lambda sender, datagram: False
    pair.dial()
    assert pair.drive(lambda: bool(pair.failures(pair.client)), 20)
    assert isinstance(pair.failures(pair.client)[0].reason, DialError)
    assert pair.now == pytest.approx(110.0)
    assert len(pair.log) == 5  # at 0, 0.5, 1.5, 3.5 and 7.5 s


def flood(pair: Pair, count: int, side: Side) -> list[bytes]:
    """Sends message 1 of so many dials, each from an address of its own; returns the answers."""
    answers: list[bytes] = []
    endpoint, _ = make_endpoint("flood", config=TransportConfig(), now=pair.now, seed=5)
    for i in range(count):
        endpoint.dial(Route(SocketId(0), None, side.address), side.peer_id, pair.now)
        initial = endpoint.poll_transmits(pair.now)[0].buffer
        pair.inject(side, bytes(initial), SocketAddr(f"198.18.{i // 250}.{i % 250 + 1}", 7))
        answers += [bytes(t.buffer) for t in side.endpoint.poll_transmits(pair.now)]
    return answers


@pytest.mark.spec("TRANSPORT-13")
def test_under_load_strangers_must_prove_their_address_and_nothing_is_kept() -> None:
    pair = Pair()
    answers = flood(pair, RETRY_THRESHOLD + 40, pair.server)
    retries = [a for a in answers if a[0] == HandshakeType.RETRY]
    assert len(retries) == 40
    assert all(len(a) <= MIN_INITIAL_SIZE // 3 for a in retries)
    pair.connect()
    assert HandshakeType.RETRY in kinds(pair, "server")
    Transfer(pair, 20_000).run()


@pytest.mark.spec("TRANSPORT-14")
def test_a_dial_follows_one_retry_only() -> None:
    pair = Pair()
    pair.dial()
    initial = bytes(pair.client.endpoint.poll_transmits(pair.now)[0].buffer)
    destination = initial[11:19]
    forged = bytes([HandshakeType.RETRY, 1]) + destination + b"\x10" + bytes(16)
    pair.inject(pair.client, forged, pair.server.address)
    again = bytes(pair.client.endpoint.poll_transmits(pair.now)[0].buffer)
    assert again != initial
    pair.inject(pair.client, forged[:-1] + b"\x01", pair.server.address)
    assert pair.client.endpoint.poll_transmits(pair.now) == []


def test_a_token_of_an_earlier_connection_saves_the_retry() -> None:
    pair = Pair()
    pair.connect()
    pair.drive(seconds=1)
    (token,) = [e.event for e in pair.client.events if isinstance(e.event, TokenReceived)]
    assert token.remote == pair.server.address
    flood(pair, RETRY_THRESHOLD + 1, pair.server)
    pair.client.events.clear()
    pair.dial(token=token.token)
    pair.log.clear()
    assert pair.drive(lambda: pair.connected(pair.client), 5)
    assert HandshakeType.RETRY not in kinds(pair, "server")


@pytest.mark.spec("TRANSPORT-8")
def test_forged_handshake_packets_change_nothing() -> None:
    pair = Pair()

    def forge(sender: str, datagram: bytes) -> bool:
        side = pair.server if sender == "client" else pair.client
        source = pair.client.address if sender == "client" else pair.server.address
        if datagram[0] & 0xE0 == 0xA0:
            for position in range(12, 400, 37):
                if position < len(datagram):
                    flipped = bytearray(datagram)
                    flipped[position] ^= 0x55
                    pair.inject(side, bytes(flipped), source)
        return True

    pair.filter = forge
    pair.connect()
    pair.drive(seconds=1)
    assert len(pair.client.endpoint.connections) == len(pair.server.endpoint.connections) == 1
    Transfer(pair, 20_000).run()


@pytest.mark.spec("TRANSPORT-17")
@pytest.mark.parametrize("aead", list(Aead))
def test_the_initiator_gets_the_aead_that_it_prefers(aead: Aead) -> None:
    other = next(a for a in Aead if a is not aead)
    pair = Pair(
        client_config=TransportConfig(aeads=(aead, other)),
        server_config=TransportConfig(aeads=(other, aead)),
    )
    pair.connect()
    assert pair.client.connection.aead == pair.server.connection.aead == aead.name
    Transfer(pair, 20_000).run()


@pytest.mark.spec("TRANSPORT-17")
def test_without_an_aead_in_common_there_is_no_connection() -> None:
    pair = Pair(
        client_config=TransportConfig(aeads=(Aead.AES_256_GCM,)),
        server_config=TransportConfig(aeads=(Aead.CHACHA20_POLY1305,)),
    )
    pair.dial()
    assert pair.drive(lambda: bool(pair.failures(pair.client)), 20)
    assert not pair.server.endpoint.connections


def test_each_side_tells_the_other_where_it_sees_it() -> None:
    pair = Pair()
    pair.translate[pair.client.address] = SocketAddr("203.0.113.7", 40000)
    pair.connect()
    pair.drive(seconds=1)
    seen = [e.event.address for e in pair.client.events if isinstance(e.event, AddressObserved)]
    assert seen == [SocketAddr("203.0.113.7", 40000)]
    seen = [e.event.address for e in pair.server.events if isinstance(e.event, AddressObserved)]
    assert seen == [pair.server.address]


@pytest.mark.spec("TRANSPORT-2")
def test_answers_leave_from_the_socket_and_address_that_were_asked() -> None:
    pair = Pair()
    pair.dial()
    initial = pair.client.endpoint.poll_transmits(pair.now)[0].buffer
    received = Received(SocketId(4), "192.0.2.77", STRANGER, 0, MIN_INITIAL_SIZE, initial)
    pair.server.endpoint.handle_received([received], pair.now)
    (answer,) = pair.server.endpoint.poll_transmits(pair.now)
    assert (answer.socket, answer.local_ip, answer.remote) == (4, "192.0.2.77", STRANGER)


def test_strangers_are_refused_when_there_is_no_room() -> None:
    pair = Pair()
    pair.server.endpoint, pair.server.peer_id = make_endpoint(
        "server",
        config=TransportConfig(),
        now=pair.now,
        seed=1,
        account=Account(ResourceLimits().with_connections(1)),
    )
    pair.connect()
    pair.client.events.clear()
    pair.dial()
    assert pair.drive(lambda: bool(pair.failures(pair.client)), 20)
    assert len(pair.server.endpoint.connections) == 1


def test_many_dials_under_loss_all_succeed() -> None:
    for seed in range(20):
        pair = Pair(seed=seed)
        pair.loss = pair.duplication = 0.2
        pair.jitter = 0.02
        pair.dial()
        assert pair.drive(
            lambda pair=pair: pair.connected(pair.client) and pair.connected(pair.server), 12
        ), f"seed {seed}"
