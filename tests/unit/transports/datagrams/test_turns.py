"""Turns: whose datagrams are read first, what waits, what is dropped, and whom it ends."""

from typing import NamedTuple

import pytest

from p2pnode.errors import ClosedForViolation
from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.datagrams.frame import Ping
from p2pnode.transports.datagrams.turns import (
    HOLD,
    MAX_QUEUE_SIZE,
    MAX_SLOWED_QUEUE_SIZE,
    MAX_STRANGERS_SIZE,
)
from p2pnode.transports.datagrams.waiting import MAX_WAIT
from p2pnode.transports.delivery.frame import ResetStream, StopSending, stream_header
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import ConnectionClosed
from p2pnode.transports.noise_udp.frame import ObservedAddress
from p2pnode.transports.noise_udp.handshake import InitiatorHandshake
from p2pnode.transports.stream_events import StreamOpened, StreamReadable
from p2pnode.transports.work import (
    CONTROL_FRAME_WORK,
    MAX_LOSS_PERIODS,
    OBSERVATION_WORK,
    OVERHEAD_BURST,
    OVERHEAD_RATE,
    PACKET_WORK,
    SLOWED_PART,
    STREAM_WORK,
    TURN_WORK,
    WAITING_TURN_WORK,
    WORK_BURST,
    WORK_QUANTUM,
)
from tests.support.noise_udp import credentials, entropy
from tests.support.raw_peer import RawPeer

BATCH = 1024
"""datagrams that a driver reads at once where many wait"""
PING = Ping().encode()
DEAR = PING * 500
"""A packet of some 5,000 units"""
FLOODS = {
    "PING": PING,
    "empty STREAM": stream_header(0, 0, False, 0),
    "OBSERVED_ADDRESS": ObservedAddress(0, 1, SocketAddr("203.0.113.1", 1)).encode() * 50,
}


class Server:
    """An endpoint with raw peers at addresses of their own; a unit of work takes a microsecond."""

    def __init__(self, peers=2):
        self.first = RawPeer()
        self.first.connect()
        self.endpoint = self.first.endpoint
        self.peers = [self.first, *(self._connect(n) for n in range(1, peers))]

    def _connect(self, number):
        peer = RawPeer(seed=number + 1)
        peer.endpoint = self.endpoint
        peer.address = SocketAddr(f"198.51.100.{number + 7}", 7777)
        peer.connect()
        return peer

    @property
    def now(self):
        return self.first.now

    def work(self, peer):
        return self.endpoint.connections[peer.handle].work

    def receive(self, *datagrams):
        """Takes one batch of (peer, datagram); drains, and lets the time of the work pass."""
        batch = [Received(SocketId(0), None, p.address, 0, len(d), d) for p, d in datagrams]
        self._pass(lambda: self.endpoint.handle_received(batch, self.now))

    @property
    def waiting_size(self):
        return self.endpoint._turns.waiting_size

    def overdraw(self, peer):
        """The peer has made work that nothing pays for."""
        work = self.work(peer)
        work.grant(0, self.now)
        work.spent += 3 * WORK_BURST
        work.renew()
        work.grant(0, self.now)
        work.renew()

    def flood(self, peer, count, payload=PING):
        for start in range(0, count, BATCH):
            self.receive(*[(peer, peer.seal(payload)) for _ in range(min(BATCH, count - start))])

    @property
    def is_waiting(self):
        return self.endpoint._turns.waiting_size > 0

    def turn(self):
        """What waits has its turn; returns whether there was anything."""
        if not self.is_waiting:
            return False
        self.first.now += 1e-5
        assert self.endpoint.poll_timeout().at <= self.now
        self._pass(lambda: self.endpoint.handle_timeout(self.now))
        return True

    def _pass(self, call):
        before = self._spent()
        call()
        self.first.drain()
        self.first.now += (self._spent() - before) * 1e-6

    def _spent(self):
        return sum(c.work.spent for c in self.endpoint.connections.values())

    def events(self, peer, kind):
        found = [e.event for e in self.first.events if e.handle == peer.handle]
        return [event for event in found if isinstance(event, kind)]


def hello(peer, stream=0):
    return peer, peer.seal(stream_header(stream, 0, True, None) + b"hello")


def test_what_is_within_a_turn_is_read_at_once():
    server = Server()
    for _ in range(5):
        server.flood(server.peers[0], TURN_WORK // 50)
        assert not server.is_waiting


@pytest.mark.spec("TRANSPORT-50")
@pytest.mark.parametrize("payload", FLOODS.values(), ids=FLOODS)
def test_a_packet_that_comes_behind_a_flood_is_read_when_it_comes(payload):
    server = Server()
    greedy, honest = server.peers
    server.flood(greedy, 2000, payload)
    assert server.is_waiting
    server.receive(hello(honest))
    assert server.events(honest, StreamReadable)
    assert server.is_waiting


@pytest.mark.spec("TRANSPORT-50")
def test_a_packet_behind_a_flood_in_the_same_batch_is_read_in_the_first_turn():
    server = Server()
    greedy, honest = server.peers
    begun = server.work(greedy).spent
    flood = [(greedy, greedy.seal(PING)) for _ in range(BATCH)]
    server.receive(*flood, hello(honest))
    assert server.events(honest, StreamReadable)
    assert server.work(greedy).spent - begun <= TURN_WORK + PACKET_WORK
    assert server.is_waiting


@pytest.mark.spec("TRANSPORT-50")
def test_a_joined_read_is_left_where_the_turn_is_over():
    server = Server()
    greedy, honest = server.peers
    payload = stream_header(0, 0, False, 0) * 300
    joined = b"".join(greedy.seal(payload) for _ in range(50))
    step = len(joined) // 50
    batch = [Received(SocketId(0), None, greedy.address, 0, step, joined)]
    before = server.work(greedy).spent
    server.endpoint.handle_received(batch, server.now)
    assert server.work(greedy).spent - before <= TURN_WORK + len(payload)
    server.receive(hello(honest))
    assert server.events(honest, StreamReadable)
    while server.turn():
        pass
    assert server.work(greedy).spent - before >= 50 * 300


@pytest.mark.spec("TRANSPORT-50")
def test_streams_that_are_opened_and_ended_are_paid_for():
    server = Server(3)
    greedy, other, honest = server.peers
    opening = b"".join(stream_header(2 * n, 0, True, 0) for n in range(200))
    server.flood(greedy, 1, opening)
    assert len(server.events(greedy, StreamOpened)) == 200
    assert server.work(greedy).spent >= 200 * STREAM_WORK

    server.flood(other, 1500)
    server.flood(greedy, 1)
    server.receive(hello(honest))
    assert server.events(honest, StreamReadable)


@pytest.mark.spec("TRANSPORT-50")
def test_what_is_said_of_an_address_is_paid_for():
    server = Server()
    greedy = server.peers[0]
    before = server.work(greedy).spent
    server.flood(greedy, 1, FLOODS["OBSERVED_ADDRESS"])
    assert server.work(greedy).spent - before >= 50 * OBSERVATION_WORK


@pytest.mark.spec("TRANSPORT-50")
def test_what_waits_is_read_in_order_and_all_of_it():
    server = Server()
    greedy, _ = server.peers
    pieces = [
        (greedy, greedy.seal(stream_header(0, n, n == 999, 1) + bytes([n % 251])))
        for n in range(1000)
    ]
    server.receive(*pieces[:900])
    server.receive(*pieces[900:])
    assert server.is_waiting
    while server.turn():
        pass
    streams = server.endpoint.connections[greedy.handle].streams
    assert streams.read(0, 10_000) == bytes(n % 251 for n in range(1000))
    assert streams.at_eof(0)


@pytest.mark.spec("TRANSPORT-50")
def test_those_that_wait_are_read_by_turns():
    server = Server(3)
    begun = [server.work(p).spent for p in server.peers]
    server.receive(*[(p, p.seal(PING)) for p in server.peers for _ in range(1000)])
    turns = 1
    while server.is_waiting:
        spent = [server.work(p).spent - b for p, b in zip(server.peers, begun, strict=True)]
        assert max(spent) - min(spent) <= WORK_QUANTUM + 2 * PACKET_WORK
        server.turn()
        turns += 1
    work = 3 * 1000 * (PACKET_WORK + CONTROL_FRAME_WORK)
    assert (work - TURN_WORK) / WAITING_TURN_WORK / 2 < turns <= 1 + work / WAITING_TURN_WORK


def test_once_nothing_waits_what_was_spent_is_forgiven():
    server = Server()
    server.flood(server.peers[0], 2000)
    while server.turn():
        pass
    work = server.work(server.peers[0])
    assert work.limit - work.spent == TURN_WORK


@pytest.mark.spec("TRANSPORT-51")
def test_what_waits_is_bounded_and_the_oldest_is_dropped():
    server = Server()
    greedy, honest = server.peers
    server.flood(greedy, 3000)
    for n in range(4):
        server.flood(greedy, 1000, stream_header(2 * n, 0, False, 1000) + bytes(1000))
    server.receive((greedy, greedy.seal(stream_header(8, 0, True, 0))))
    assert server.waiting_size <= MAX_QUEUE_SIZE
    server.receive(hello(honest))
    assert server.events(honest, StreamReadable)
    while server.turn():
        pass
    streams = server.endpoint.connections[greedy.handle].streams
    assert streams.at_eof(8), "the newest was dropped"
    assert not streams.read(0, 10), "the oldest was not dropped"


@pytest.mark.spec("TRANSPORT-51")
def test_what_waited_too_long_is_not_read_any_more():
    server = Server()
    greedy, _ = server.peers
    server.flood(greedy, 3000)
    server.receive((greedy, greedy.seal(stream_header(0, 0, True, 0) + b"late")))
    server.first.now += MAX_WAIT + 0.1
    before = server.work(greedy).spent
    server.turn()
    assert not server.is_waiting
    assert server.work(greedy).spent == before
    server.receive(hello(greedy))
    assert server.events(greedy, StreamReadable)


@pytest.mark.spec("TRANSPORT-52")
def test_who_is_beyond_its_budget_is_read_less():
    server = Server()
    greedy = server.peers[0]
    server.overdraw(greedy)
    begun = [server.work(p).spent for p in server.peers]
    server.receive(*[(p, p.seal(PING)) for p in server.peers for _ in range(500)])
    slow, fast = (server.work(p).spent - b for p, b in zip(server.peers, begun, strict=True))
    assert abs(fast / slow - SLOWED_PART) < 1


@pytest.mark.spec("TRANSPORT-52")
def test_a_connection_beyond_its_budget_has_a_short_queue():
    server = Server()
    greedy, honest = server.peers
    server.overdraw(greedy)
    server.flood(greedy, BATCH)
    server.turn()
    server.flood(greedy, BATCH)
    assert server.waiting_size <= MAX_SLOWED_QUEUE_SIZE
    server.receive(hello(honest))
    assert server.events(honest, StreamReadable)


@pytest.mark.spec("TRANSPORT-52")
def test_a_flood_that_heeds_no_losses_ends_its_connection_and_no_other():
    server = Server()
    greedy, honest = server.peers
    server.overdraw(greedy)
    begun, asked = server.now, 0
    while not server.events(greedy, ConnectionClosed) and server.now < begun + 60:
        server.flood(greedy, 60, DEAR)
        server.turn()
        server.receive(hello(honest, 2 * asked))
        asked += 1
        server.turn()
        assert len(server.events(honest, StreamReadable)) == asked
        server.first.now += 0.1
    assert begun + MAX_LOSS_PERIODS < server.now < begun + 2 * MAX_LOSS_PERIODS
    (ended,) = server.events(greedy, ConnectionClosed)
    assert isinstance(ended.reason, ClosedForViolation)
    assert ended.reason.code == ErrorCode.ENHANCE_YOUR_CALM
    opened = [greedy.open(datagram) for datagram in server.first.datagrams[-2:]]
    greedy.opened = [packet for packet in opened if packet is not None]
    assert greedy.close_code == ErrorCode.ENHANCE_YOUR_CALM
    assert not server.events(honest, ConnectionClosed)


@pytest.mark.spec("TRANSPORT-52")
def test_who_waits_until_it_is_read_is_never_ended_however_much_work_it_makes():
    server = Server()
    begun = server.now
    while server.now < begun + 2 * MAX_LOSS_PERIODS:
        for peer in server.peers:
            server.overdraw(peer)
        server.receive(*[(peer, peer.seal(DEAR)) for peer in server.peers for _ in range(40)])
        while server.turn():
            server.first.now += 0.05
    assert all(server.work(peer).is_overdrawn for peer in server.peers)
    assert not any(server.events(peer, ConnectionClosed) for peer in server.peers)


@pytest.mark.spec("TRANSPORT-58")
def test_nobody_waits_for_one_that_is_held():
    server = Server()
    greedy, honest = server.peers
    server.work(greedy).add_overhead(2 * OVERHEAD_BURST)
    for number in range(5):
        server.receive((greedy, greedy.seal(PING)))
        assert server.is_waiting
        server.flood(honest, TURN_WORK // 50)
        server.receive(hello(honest, 2 * number))
        assert len(server.events(honest, StreamReadable)) == number + 1


@pytest.mark.spec("TRANSPORT-58")
def test_what_is_held_is_read_once_it_is_paid_for():
    server = Server()
    greedy = server.first
    server.work(greedy).add_overhead(OVERHEAD_BURST + OVERHEAD_RATE // 2)
    server.receive(hello(greedy))
    begun = server.now
    while not server.events(greedy, StreamReadable):
        assert server.now < begun + 2
        server.first.now = server.endpoint.poll_timeout().at
        server._pass(lambda: server.endpoint.handle_timeout(server.now))
    assert 0.3 < server.now - begun < 0.5 + 2 * HOLD
    assert not server.is_waiting


@pytest.mark.spec("TRANSPORT-58")
@pytest.mark.parametrize("payload", [b"\0" * 40, PING, FLOODS["empty STREAM"]])
def test_a_packet_that_brings_nothing_is_overhead(payload):
    server = Server()
    server.receive((server.first, server.first.seal(stream_header(0, 0, False, 1) + b"x")))
    before = server.work(server.first).overhead
    server.receive((server.first, server.first.seal(payload)))
    assert server.work(server.first).overhead - before >= PACKET_WORK


@pytest.mark.spec("TRANSPORT-58")
def test_a_forged_packet_is_no_overhead():
    server = Server()
    before = server.work(server.first).overhead
    packet = bytearray(server.first.seal(PING))
    packet[-1] ^= 1
    server.receive((server.first, bytes(packet)))
    assert server.work(server.first).overhead == before


@pytest.mark.spec("TRANSPORT-58")
@pytest.mark.parametrize(
    ("ends", "price"),
    [
        ([stream_header(0, 0, True, 2) + b"hi"], 0),
        ([stream_header(0, 0, False, 2) + b"hi", stream_header(0, 2, True, 0)], 0),
        ([stream_header(0, 0, True, 0)], STREAM_WORK),
        ([stream_header(0, 0, False, 2) + b"hi", ResetStream(0, 0, 2).encode()], STREAM_WORK),
        ([stream_header(0, 0, True, 2) + b"hi", StopSending(0, 0).encode()], STREAM_WORK),
        ([ResetStream(0, 0, 2).encode(), StopSending(0, 0).encode()], STREAM_WORK),
        ([StopSending(0, 0).encode(), ResetStream(0, 0, 2).encode()], STREAM_WORK),
    ],
)
def test_a_stream_is_overhead_where_the_peer_gives_it_up_or_it_carries_nothing(ends, price):
    server = Server()
    before = server.work(server.first).overhead
    for frames in ends:
        server.receive((server.first, server.first.seal(frames)))
    overhead = server.work(server.first).overhead - before
    assert price <= overhead <= price + len(ends) * (PACKET_WORK + CONTROL_FRAME_WORK)
    assert overhead == 0 or price


@pytest.mark.spec("TRANSPORT-58")
@pytest.mark.parametrize("end", [StopSending(0, 0), ResetStream(0, 0, 2)])
def test_who_has_had_an_answer_may_close_a_stream_at_once(end):
    server = Server()
    server.receive((server.first, server.first.seal(stream_header(0, 0, False, 2) + b"hi")))
    before = server.work(server.first).overhead
    connection = server.endpoint.command(server.first.handle)
    connection.streams.write(0, b"answer")
    server.endpoint.poll_transmits(server.now)
    server.receive((server.first, server.first.seal(end.encode())))
    overhead = server.work(server.first).overhead - before
    assert overhead <= PACKET_WORK + CONTROL_FRAME_WORK


class Strangers:
    """Handshakes that begin at addresses of their own."""

    def __init__(self, server):
        self.server = server
        self._count = 0

    def initial(self, ip):
        """Returns (sender, message 1)."""
        self._count += 1
        handshake = InitiatorHandshake(
            credentials("stranger"),
            entropy(f"stranger/{self._count}"),
            destination=self._count,
            source=self._count,
            token=b"",
        )
        return Sender(SocketAddr(ip, 1000 + self._count)), handshake.packet

    def is_answered(self, sender):
        return self.server.first.bytes_to[sender.address] > 0


class Sender(NamedTuple):
    address: SocketAddr


@pytest.mark.spec("TRANSPORT-53")
@pytest.mark.parametrize(
    ("greedy", "other"),
    [("203.0.113.{}", "192.0.2.1"), ("2001:db8:1:{}::1", "2001:db8:2::1")],
)
def test_a_stranger_behind_handshakes_of_another_network_has_its_turn(greedy, other):
    server = Server()
    strangers = Strangers(server)
    flood = [strangers.initial(greedy.format(n % 2)) for n in range(40)]
    sender, packet = strangers.initial(other)
    server.receive(*flood)
    assert server.is_waiting
    server.receive((sender, packet))
    for _ in range(3):
        server.turn()
    assert strangers.is_answered(sender)
    assert not all(strangers.is_answered(one) for one, _ in flood)


@pytest.mark.spec("TRANSPORT-53")
def test_strangers_have_a_part_of_each_turn_before_those_whose_packets_wait():
    server = Server(3)
    strangers = Strangers(server)
    server.receive(*[(p, p.seal(PING)) for p in server.peers for _ in range(2000)])
    sender, packet = strangers.initial("192.0.2.1")
    server.receive(*[strangers.initial("203.0.113.1") for _ in range(20)], (sender, packet))
    for _ in range(2):
        server.turn()
    assert strangers.is_answered(sender)
    assert server.is_waiting


@pytest.mark.spec("TRANSPORT-53")
def test_strangers_do_not_delay_a_connection():
    server = Server()
    honest, strangers = server.peers[1], Strangers(server)
    server.receive(*[strangers.initial(f"203.0.113.{n % 250}") for n in range(200)])
    assert server.is_waiting
    server.receive(hello(honest))
    assert server.events(honest, StreamReadable)


@pytest.mark.spec("RESOURCES-24")
@pytest.mark.spec("TRANSPORT-53")
def test_strangers_that_wait_are_bounded():
    server = Server()
    strangers = Strangers(server)
    stray = b"\x80" + (9).to_bytes(8, "big") + bytes(50)
    server.receive(*[strangers.initial("203.0.113.1") for _ in range(20)])
    for n in range(3000):
        server.receive((Sender(SocketAddr(f"10.{n >> 8}.{n & 255}.1", 1)), stray))
    assert server.waiting_size <= 2 * MAX_STRANGERS_SIZE
    server.turn()
    memory = server.endpoint.commons.account.memory
    beside = memory.used - sum(map(memory.amount, server.endpoint.connections))
    assert beside == server.waiting_size > 0
    sender, packet = strangers.initial("192.0.2.1")
    server.receive((sender, packet))
    while server.turn() and not strangers.is_answered(sender):
        pass
    assert strangers.is_answered(sender)
    while server.turn():
        pass
    assert memory.used == sum(map(memory.amount, server.endpoint.connections))
