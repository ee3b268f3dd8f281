"""Live connections: transfers over bad wires, key updates, closing, resets, datagrams."""

from array import array
from typing import Any

import pytest

from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    IdleTimeout,
    LocalProtocolError,
    ResetByPeer,
)
from p2pnode.machine import SocketAddr
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import ConnectionClosed, DatagramReceived, MaxDatagramSizeChanged
from p2pnode.transports.noise_udp.aead import LIMITS, Aead, AeadLimits
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.packet import DATA, DATA_OVERHEAD, RESET_SIZE, STATELESS_RESET
from tests.support.pair import Pair, Side, make_endpoint
from tests.support.transfer import Transfer


def connected(**more: Any) -> Pair:
    pair = Pair(**more)
    pair.connect()
    pair.drive(seconds=1)
    return pair


def step_all(transfers: list[Transfer]) -> bool:
    """Moves every transfer on, also where an earlier one is not over."""
    over = [transfer.step() for transfer in transfers]
    return all(over)


def close_reasons(side: Side) -> list[Exception]:
    return [e.event.reason for e in side.events if isinstance(e.event, ConnectionClosed)]


@pytest.mark.parametrize(
    ("loss", "duplication", "jitter"),
    [(0, 0, 0), (0.02, 0, 0), (0, 0.5, 0), (0, 0, 0.03), (0.1, 0.1, 0.01)],
)
def test_a_transfer_arrives_byte_for_byte(loss: float, duplication: float, jitter: float) -> None:
    pair = connected()
    pair.loss, pair.duplication, pair.jitter = loss, duplication, jitter
    Transfer(pair, 300_000).run()
    Transfer(pair, 300_000, sender=pair.server).run()


def test_streams_in_both_directions_at_once() -> None:
    pair = connected()
    pair.loss = 0.02
    transfers = [Transfer(pair, 60_000 + i, sender=pair.sides[i % 2]) for i in range(12)]
    assert pair.drive(lambda: step_all(transfers))
    assert all(t.received == t.data for t in transfers)


def test_congestion_marks_slow_the_sender_down() -> None:
    pair = connected(latency=0.05)
    pair.ce_marking = 0.02
    start = pair.now
    Transfer(pair, 1_000_000).run()
    marked = pair.now - start
    pair.ce_marking = 0
    start = pair.now
    Transfer(pair, 1_000_000).run()
    assert pair.now - start < marked


@pytest.mark.spec("RECOVERY-20")
@pytest.mark.parametrize("max_ack_delay", [0.005, 0.025, 0.1])
def test_an_acknowledgement_waits_for_the_announced_time(max_ack_delay: float) -> None:
    pair = connected(server_config=TransportConfig(max_ack_delay=max_ack_delay))
    pair.log.clear()
    pair.client.connection.ping()
    pair.drive(seconds=0.5)
    (asked, _, _), (answered, answering, _) = pair.log[:2]
    assert answering == "server"
    assert answered - asked - pair.latency == pytest.approx(max_ack_delay)


def test_the_path_mtu_is_found() -> None:
    pair = connected()
    Transfer(pair, 2_000_000).run()
    assert pair.client.connection.paths.active.mtu.current == 1472
    sizes = [
        e.event.size for e in pair.client.events if isinstance(e.event, MaxDatagramSizeChanged)
    ]
    assert sizes == sorted(sizes)


def test_a_path_whose_mtu_shrinks_falls_back() -> None:
    pair = connected()
    Transfer(pair, 2_000_000).run()
    pair.mtu = 1300
    Transfer(pair, 200_000).run()
    assert pair.client.connection.paths.active.mtu.current <= 1300


@pytest.mark.spec("TRANSPORT-18", "TRANSPORT-19")
def test_forged_and_replayed_packets_change_nothing() -> None:
    pair = connected()
    replayed: list[tuple[str, bytes]] = []

    def attack(sender: str, datagram: bytes) -> bool:
        side = pair.server if sender == "client" else pair.client
        source = pair.client.address if sender == "client" else pair.server.address
        replayed.append((sender, datagram))
        for old_sender, old in replayed[-40::13]:
            if old_sender == sender:
                pair.inject(side, old, source)
        flipped = bytearray(datagram)
        flipped[len(replayed) % len(datagram)] ^= 1
        pair.inject(side, bytes(flipped), SocketAddr("198.18.0.1", 1))
        return True

    pair.filter = attack
    Transfer(pair, 100_000).run()
    assert not close_reasons(pair.client)
    assert not close_reasons(pair.server)
    assert pair.server.connection.route.remote == pair.client.address


@pytest.mark.spec("TRANSPORT-18")
def test_too_many_forgeries_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, Aead.CHACHA20_POLY1305, AeadLimits(1 << 28, 1 << 38, 20))
    pair = connected()
    Transfer(pair, 1000).run()
    packet = next(d for _, s, d in reversed(pair.log) if s == "client" and d[0] & 0xFE == DATA)
    for i in range(25):
        pair.inject(pair.server, packet[:9] + i.to_bytes(4, "big") + bytes(60), pair.client.address)
    pair.drive(seconds=1)
    (reason,) = close_reasons(pair.client)
    assert isinstance(reason, ClosedByPeer)
    assert reason.code == ErrorCode.AEAD_LIMIT_REACHED


@pytest.mark.spec("TRANSPORT-20", "TRANSPORT-21")
@pytest.mark.parametrize("aead", list(Aead))
def test_keys_are_updated_under_way(aead: Aead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, aead, AeadLimits(1 << 20, 50_000, 1 << 30))
    config = TransportConfig(aeads=(aead,))
    pair = connected(client_config=config, server_config=config)
    pair.jitter = 0.004
    transfers = [Transfer(pair, 800_000, sender=side) for side in pair.sides]
    assert pair.drive(lambda: step_all(transfers))
    assert all(t.received == t.data for t in transfers)
    phases = {d[0] & 1 for _, s, d in pair.log if s == "client" and d[0] & 0xFE == DATA}
    assert phases == {0, 1}
    assert not close_reasons(pair.server)


@pytest.mark.spec("TRANSPORT-21")
@pytest.mark.parametrize(("ptos", "is_readable"), [(0.1, True), (2.9, True), (3.1, False)])
def test_a_packet_that_was_under_way_at_an_update_is_read_for_3_pto(
    ptos: float, is_readable: bool
) -> None:
    pair = connected()
    Transfer(pair, 1000).run()
    pair.drive(seconds=1)
    held: list[bytes] = []

    def hold(sender: str, datagram: bytes) -> bool:
        held.append(datagram)
        return False

    pair.filter = hold
    pair.client.connection.send_datagram(b"on its way")
    pair.flush()
    (late,) = held
    pair.filter = lambda sender, datagram: True
    assert pair.client.connection.update_keys(pair.now)
    pair.client.connection.ping()
    keys = pair.server.connection._sender._keys
    assert pair.drive(lambda: keys.phase == 1, 1)
    pto = pair.server.connection.paths.active.pto(0.025)
    pair.drive(seconds=ptos * pto)
    pair.inject(pair.server, late, pair.client.address)
    pair.drive(seconds=0.01)
    got = [e.event.data for e in pair.server.events if isinstance(e.event, DatagramReceived)]
    assert got == [b"on its way"] * is_readable


@pytest.mark.spec("TRANSPORT-20")
def test_an_update_waits_until_the_last_one_is_over() -> None:
    pair = connected()
    Transfer(pair, 1000).run()
    connection = pair.client.connection
    assert connection.update_keys(pair.now)
    assert not connection.update_keys(pair.now)
    Transfer(pair, 1000).run()
    pair.drive(seconds=1)
    assert pair.client.connection.update_keys(pair.now)
    Transfer(pair, 1000).run()


@pytest.mark.spec("TRANSPORT-37")
def test_a_close_tells_the_peer_code_and_reason() -> None:
    pair = connected()
    pair.client.connection.close(42, "had enough", pair.now)
    pair.drive(seconds=1)
    (ours,), (theirs,) = close_reasons(pair.client), close_reasons(pair.server)
    assert isinstance(ours, ClosedLocally)
    assert isinstance(theirs, ClosedByPeer)
    assert (theirs.code, theirs.reason) == (42, "had enough")
    pair.drive(seconds=10)
    assert not pair.client.endpoint.connections
    assert not pair.server.endpoint.connections


@pytest.mark.spec("TRANSPORT-37")
def test_a_lost_close_is_repeated_ever_more_rarely() -> None:
    pair = connected()
    transfer = Transfer(pair, 3_000_000, sender=pair.server)
    pair.drive(transfer.step, 0.1)
    pair.client.connection.close(1, "", pair.now)
    pair.log.clear()
    pair.filter = lambda sender, datagram: sender == "server"
    pair.drive(transfer.step, 0.05)
    sent = sum(sender == "server" for _, sender, _ in pair.log)
    closes = sum(sender == "client" for _, sender, _ in pair.log)
    assert sent >= 8
    assert 2 <= closes <= 1 + sent.bit_length()
    assert not close_reasons(pair.server)


@pytest.mark.spec("TRANSPORT-36")
def test_a_silent_peer_is_given_up_after_the_idle_timeout() -> None:
    pair = connected(server_config=TransportConfig(idle_timeout=30.0))
    start = pair.now
    pair.filter = lambda sender, datagram: False
    assert pair.drive(lambda: bool(close_reasons(pair.client) and close_reasons(pair.server)), 90)
    assert isinstance(close_reasons(pair.client)[0], IdleTimeout)
    assert pair.now - start <= 31


@pytest.mark.spec("TRANSPORT-36")
def test_on_a_slow_path_a_peer_has_three_probe_timeouts_however_short_the_idle_timeout() -> None:
    config = TransportConfig(idle_timeout=0.2)
    pair = Pair(latency=0.4, client_config=config, server_config=config)
    pair.connect()
    Transfer(pair, 10_000).run()
    pair.drive(seconds=2)
    connection = pair.client.connection
    pair.filter = lambda sender, datagram: False
    pto = connection.paths.active.pto(0.025)
    heard = connection.last_received
    assert 3 * pto > 10 * config.idle_timeout
    assert pair.drive(lambda: bool(close_reasons(pair.client)), 30)
    assert isinstance(close_reasons(pair.client)[0], IdleTimeout)
    assert pair.now - heard == pytest.approx(3 * pto, rel=0.01)


@pytest.mark.spec("TRANSPORT-36")
def test_a_peer_that_acknowledged_late_keeps_its_place_no_longer_than_others() -> None:
    pair = connected()
    connection = pair.server.connection
    connection.paths.active.rtt.update(60.0, 0.0, 0.0, pair.now)
    assert 3 * connection.paths.active.pto(0.025) > 60
    start = pair.now
    pair.filter = lambda sender, datagram: False
    assert pair.drive(lambda: bool(close_reasons(pair.server)), 90)
    assert pair.now - start <= 46


@pytest.mark.spec("TRANSPORT-34")
def test_an_idle_connection_is_kept_alive() -> None:
    pair = connected()
    pair.log.clear()
    pair.drive(seconds=300)
    assert not close_reasons(pair.client)
    assert not close_reasons(pair.server)
    assert 2 * 300 / 25 * 0.8 <= len(pair.log) <= 4 * 300 / 25 + 4
    Transfer(pair, 1000).run()


def restarted(pair: Pair) -> None:
    """The server comes back with the same key and secret, but without memory."""
    pair.server.endpoint, peer_id = make_endpoint(
        "server", config=TransportConfig(), now=pair.now, seed=1
    )
    assert peer_id == pair.server.peer_id


@pytest.mark.spec("TRANSPORT-38", "TRANSPORT-39")
def test_a_restarted_peer_says_that_it_has_forgotten_us() -> None:
    pair = connected()
    restarted(pair)
    pair.log.clear()
    pair.client.connection.ping()
    assert pair.drive(lambda: bool(close_reasons(pair.client)), 5)
    assert isinstance(close_reasons(pair.client)[0], ResetByPeer)
    resets = [d for _, s, d in pair.log if d[0] == STATELESS_RESET]
    assert len(resets) == 1
    assert len(resets[0]) == RESET_SIZE < min(len(d) for _, s, d in pair.log if s == "client")


@pytest.mark.spec("TRANSPORT-38")
def test_resets_are_few_and_answer_neither_resets_nor_handshakes() -> None:
    pair = connected()
    for i in range(300):
        stray = bytes([DATA]) + i.to_bytes(8, "big") + bytes(DATA_OVERHEAD - 9)
        pair.inject(pair.server, stray[:-1], SocketAddr("198.18.0.1", 1))
        pair.inject(pair.server, stray, SocketAddr("198.18.0.1", 1))
        pair.inject(pair.server, bytes([STATELESS_RESET]) + bytes(24), SocketAddr("198.18.0.1", 1))
        pair.inject(pair.server, bytes([0x90]) + bytes(60), SocketAddr("198.18.0.1", 1))
    answers = pair.server.endpoint.poll_transmits(pair.now)
    assert len(answers) == 100
    assert all(len(t.buffer) == RESET_SIZE < DATA_OVERHEAD for t in answers)

    pair.now += 0.5
    for _ in range(300):
        pair.inject(pair.server, stray, SocketAddr("198.18.0.1", 1))
    assert len(pair.server.endpoint.poll_transmits(pair.now)) == 50


@pytest.mark.spec("TRANSPORT-39")
def test_a_forged_reset_is_ignored() -> None:
    pair = connected()
    for i in range(50):
        forged = bytes([STATELESS_RESET]) + bytes(8) + bytes([i]) * 16
        pair.inject(pair.client, forged, pair.server.address)
    Transfer(pair, 1000).run()


def test_datagrams_arrive_or_not_but_are_never_repeated() -> None:
    pair = connected()
    pair.loss = 0.3
    for i in range(200):
        assert pair.client.connection.send_datagram(i.to_bytes(2, "big"))
        pair.drive(seconds=0.01)
    got = [e.event.data for e in pair.server.events if isinstance(e.event, DatagramReceived)]
    assert 80 < len(got) < 200
    assert len(set(got)) == len(got)


def test_a_datagram_that_cannot_fit_is_refused() -> None:
    pair = connected()
    size = pair.client.connection.max_datagram_size
    assert size > 1000
    assert pair.client.connection.send_datagram(bytes(size))
    with pytest.raises(LocalProtocolError):
        pair.client.connection.send_datagram(bytes(size + 1))
    pair.drive(seconds=1)
    got = [e.event.data for e in pair.server.events if isinstance(e.event, DatagramReceived)]
    assert got == [bytes(size)]


def test_datagrams_that_wait_as_the_path_mtu_shrinks_hold_nothing_up() -> None:
    pair = connected()
    Transfer(pair, 200_000).run()
    large = pair.client.connection.max_datagram_size
    assert large > 1400
    pair.mtu = 1300
    while pair.client.connection.send_datagram(bytes(large)):
        pass
    pair.drive(lambda: pair.client.connection.max_datagram_size < large)
    pair.drive(seconds=5)

    that_fit = [b"small", bytes(pair.client.connection.max_datagram_size)]
    for data in that_fit:
        assert pair.client.connection.send_datagram(data)
    pair.drive(seconds=5)

    got = [e.event.data for e in pair.server.events if isinstance(e.event, DatagramReceived)]
    assert got == that_fit


def test_a_datagram_is_what_the_buffer_held_when_it_was_given() -> None:
    pair = connected()
    numbers = array("H", [1, 2, 3])
    expected = numbers.tobytes()
    assert pair.client.connection.send_datagram(memoryview(numbers))
    numbers[0] = 9
    pair.drive(seconds=1)
    got = [e.event.data for e in pair.server.events if isinstance(e.event, DatagramReceived)]
    assert got == [expected]


def test_a_full_datagram_queue_says_so() -> None:
    pair = connected()
    pair.filter = lambda sender, datagram: False
    results = [pair.client.connection.send_datagram(bytes(1000)) for _ in range(1000)]
    assert results[0]
    assert not results[-1]


@pytest.mark.spec("TRANSPORT-23")
@pytest.mark.parametrize("frame", [b"\x1e", b"\x07\x01x"])
def test_frames_of_the_responder_are_refused_from_an_initiator(frame: bytes) -> None:
    pair = connected()
    pair.client.connection._control.push(frame)
    pair.drive(seconds=1)
    (reason,) = close_reasons(pair.server)
    assert isinstance(reason, ClosedForViolation)
    assert reason.code == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("TRANSPORT-22")
@pytest.mark.parametrize("frame", [b"\x3f", b"\x31\x40\xff", b"\x06"])
def test_malformed_frames_end_the_connection(frame: bytes) -> None:
    pair = connected()
    pair.client.connection._control.push(frame)
    pair.drive(seconds=1)
    (reason,) = close_reasons(pair.server)
    assert isinstance(reason, ClosedForViolation)
    assert reason.code == ErrorCode.FRAME_ENCODING_ERROR
    (reason,) = close_reasons(pair.client)
    assert isinstance(reason, ClosedByPeer)


def test_a_stalled_reader_holds_the_writer_back() -> None:
    config = TransportConfig(max_data=100_000, max_stream_data=60_000)
    pair = connected(server_config=config)
    stream = pair.client.connection.streams.open()
    assert stream is not None
    pair.client.connection.streams.write(stream, bytes(1_000_000))
    pair.drive(seconds=5)
    arrived = 0
    while data := pair.server.connection.streams.read(stream, 1 << 20):
        arrived += len(data)
    assert arrived == 60_000
    pair.drive(seconds=5)
    assert pair.server.connection.streams.read(stream, 1 << 20)


def test_more_streams_than_allowed_have_to_wait() -> None:
    pair = connected(server_config=TransportConfig(max_streams=3))
    streams = pair.client.connection.streams
    opened = [streams.open() for _ in range(5)]
    assert opened == [0, 2, 4, None, None]
    for stream in (0, 2, 4):
        streams.write(stream, b"x")
        streams.finish(stream)
    pair.drive(seconds=1)
    for stream in (0, 2, 4):
        server = pair.server.connection.streams
        assert server.read(stream, 10) == b"x"
        server.finish(stream)
    pair.drive(seconds=1)
    for stream in (0, 2, 4):
        assert pair.client.connection.streams.read(stream, 10) == b""
    pair.drive(seconds=1)
    assert pair.client.connection.streams.open() == 6


@pytest.mark.spec("TRANSPORT-42")
def test_a_receiver_asks_for_a_sign_of_life_when_the_data_stops() -> None:
    """It has nothing to send by itself, and where a NAT has forgotten it nothing arrives."""
    pair = connected()
    stream_id = pair.client.connection.streams.open()
    assert stream_id is not None
    pair.client.connection.streams.write(stream_id, b"and then?")
    pair.drive(seconds=0.5)
    stopped = pair.now - 0.5
    pair.blocked[pair.server.address] = None
    pair.log.clear()
    pair.drive(seconds=20)
    asked = [at - stopped for at, source, _ in pair.log if source == "server"]
    assert [round(at) for at in asked if at < 8][:1] == [1]
    assert {3, 7} <= {round(at) for at in asked}


@pytest.mark.spec("TRANSPORT-42")
def test_where_three_probe_timeouts_are_longer_a_receiver_asks_once_at_a_time() -> None:
    """The three times fell together, and so did three PINGs."""
    pair = connected(latency=1.3)
    stream_id = pair.client.connection.streams.open()
    assert stream_id is not None
    pair.client.connection.streams.write(stream_id, b"and then?")
    pair.drive(lambda: pair.server.connection.streams.bytes_received > 0)
    pair.drive(seconds=2.0)
    pair.blocked[pair.server.address] = None
    pair.log.clear()
    pair.drive(seconds=20)
    asked = [at for at, source, _ in pair.log if source == "server"]
    assert asked
    assert len(asked) == len(set(asked))


@pytest.mark.spec("TRANSPORT-42")
def test_nobody_is_asked_without_a_stream() -> None:
    pair = connected()
    Transfer(pair, 10_000).run()
    pair.drive(seconds=2)
    pair.log.clear()
    pair.drive(seconds=15)
    assert not pair.log
