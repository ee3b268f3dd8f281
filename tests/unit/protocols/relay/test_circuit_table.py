"""Packets through datagram circuits, stepped by hand."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from p2pnode.clock import UnixTime
from p2pnode.machine import ConnectionHandle, Ecn, Received, SocketAddr, SocketId, Transmit
from p2pnode.protocols.relay.accounting import MonthlyVolume, PeerUsage, Traffic
from p2pnode.protocols.relay.circuit import (
    PENDING_TIMEOUT,
    CircuitClosed,
    CircuitEndsSoon,
    CircuitOffer,
    Leg,
    VolumeNearlySpent,
)
from p2pnode.protocols.relay.circuit_table import (
    CIRCUIT_TYPE,
    END_NOTICE,
    IDLE_TIMEOUT,
    QUEUES_STEP,
    UNLIMITED_QUEUE_RATE,
    USED_WITHIN,
    CircuitTable,
)
from p2pnode.protocols.relay.fair_queue import HOLD, MAX_SEGMENTS, MIN_BURST
from p2pnode.protocols.relay.limits import RelayLimits
from p2pnode.protocols.relay.messages import Status
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits, Shares
from tests.support.identities import peer_id

SOCKET = SocketId(0)
UNLIMITED = RelayLimits(
    circuit_rate=0, peer_rate=0, total_rate=0, monthly_bytes=0, peer_monthly_bytes=0
)
HEAD = bytes([CIRCUIT_TYPE])


def new_table(limits: RelayLimits = UNLIMITED, *, used: int = 0) -> CircuitTable:
    volume = MonthlyVolume(limits.monthly_bytes, now=0.0, unix_now=UnixTime(1_700_000_000))
    volume.add(used, 0.0)
    return CircuitTable(limits, Random(7).randbytes, volume)


def leg(index: int) -> Leg:
    ip = f"1.0.{index // 250}.{index % 250 + 1}"
    return Leg(peer_id(index), ConnectionHandle(index), SOCKET, "10.0.0.1", SocketAddr(ip, 4001))


def receive_id(index: int) -> bytes:
    return b"recv" + index.to_bytes(4, "big")


def connect(table: CircuitTable, source: int, target: int, now: float = 0.0) -> CircuitOffer:
    offer = table.offer(leg(source), leg(target), receive_id(source), now)
    assert table.activate(offer.key, receive_id(target), now)
    return offer


def connect_all(table: CircuitTable, ends: list[tuple[int, int]]) -> list[CircuitOffer]:
    """Opens circuits whose targets receive each by an id of its own, for `run`."""
    offers: list[CircuitOffer] = []
    for index, (source, target) in enumerate(ends):
        offer = table.offer(leg(source), leg(target), receive_id(source), 0.0)
        assert table.activate(offer.key, receive_id(index), 0.0)
        offers.append(offer)
    return offers


def packet(circuit_id: bytes, inner: bytes) -> bytes:
    return HEAD + circuit_id + inner


def received(source: int, *packets: bytes, ecn: int = 0) -> Received:
    return Received(SOCKET, "10.0.0.1", leg(source).remote, ecn, len(packets[0]), b"".join(packets))


def send(table: CircuitTable, now: float, *batch: Received) -> list[Transmit]:
    table.handle_received(batch, now)
    return table.poll_transmits(now)


def cut(transmits: list[Transmit]) -> list[tuple[SocketAddr, bytes]]:
    return [
        (t.remote, bytes(t.buffer[start : start + t.segment_size]))
        for t in transmits
        for start in range(0, len(t.buffer), t.segment_size)
    ]


@pytest.mark.spec("RELAY-15")
def test_packets_pass_both_ways_with_another_id_and_the_same_ecn_mark() -> None:
    table = new_table()
    offer = connect(table, 1, 2)

    (there,) = send(table, 0.0, received(1, packet(offer.source_id, b"hello"), ecn=Ecn.CE))
    (back,) = send(table, 0.0, received(2, packet(offer.target_id, b"world!"), ecn=Ecn.ECT_0))

    assert there == Transmit(
        SOCKET, "10.0.0.1", leg(2).remote, Ecn.CE, None, 14, packet(receive_id(2), b"hello")
    )
    assert back.remote == leg(1).remote
    assert back.ecn == Ecn.ECT_0
    assert back.buffer == packet(receive_id(1), b"world!")
    assert table.strays == 0


@pytest.mark.spec("RELAY-15")
def test_a_packet_from_elsewhere_is_dropped_even_with_the_right_id() -> None:
    table = new_table()
    offer = connect(table, 1, 2)
    good = packet(offer.source_id, b"hello")
    wrong = [
        received(3, good),
        received(1, good)._replace(socket=SocketId(1)),
        received(1, good)._replace(remote=SocketAddr(leg(1).remote.ip, 4002)),
        received(1, packet(offer.target_id, b"hello")),
        received(1, packet(b"\x00" * 8, b"hello")),
        received(3, good, good),
    ]
    other = [
        received(1, b"\x91" + good[1:]),
        received(1, good[:9]),
        received(1, b"\x90"),
        received(1, good[:9], good[:9]),
        received(1, b"\x91" + good[1:], b"\x91" + good[1:]),
    ]

    assert send(table, 0.0, *wrong) == []
    assert table.strays == 7
    assert send(table, 0.0, *other) == []
    assert table.strays == 7


@pytest.mark.spec("RELAY-12")
def test_nothing_is_forwarded_before_the_listener_has_accepted() -> None:
    table = new_table()
    offer = table.offer(leg(1), leg(2), receive_id(1), 0.0)
    early = received(1, packet(offer.source_id, b"early"))
    assert send(table, 0.0, early) == []

    table.handle_timeout(PENDING_TIMEOUT)
    assert table.poll_events() == [CircuitClosed(offer.key, "its time is over")]
    assert not table.activate(offer.key, receive_id(2), PENDING_TIMEOUT)
    assert len(table) == 0


@pytest.mark.spec("RELAY-15")
def test_a_circuit_follows_the_hop_connections_path_only() -> None:
    table = new_table()
    offer = connect(table, 1, 2)
    moved = SocketAddr("9.9.9.9", 9)
    forged = received(1, packet(offer.source_id, b"x"))._replace(remote=moved)
    assert send(table, 0.0, forged) == []

    table.handle_moved(ConnectionHandle(1), SocketId(3), None, moved)
    (there,) = send(table, 0.0, forged._replace(socket=SocketId(3)))
    (back,) = send(table, 0.0, received(2, packet(offer.target_id, b"y")))

    assert there.remote == leg(2).remote
    assert (back.socket, back.local_ip, back.remote) == (SocketId(3), None, moved)


@pytest.mark.spec("RELAY-13")
def test_circuits_end_with_the_connection_of_either_end() -> None:
    table = new_table()
    first, second = connect(table, 1, 2), connect(table, 3, 1)
    kept = connect(table, 2, 3)
    table.handle_received([received(1, packet(first.source_id, b"waits"))], 0.0)
    table.handle_disconnected(ConnectionHandle(1))
    table.close(first.key, "again")

    assert [event.key for event in table.poll_events()] == [first.key, second.key]
    assert table.poll_transmits(0.0) == []
    assert len(table) == 1
    assert send(table, 0.0, received(2, packet(kept.source_id, b"x")))


@pytest.mark.spec("RELAY-19")
def test_a_joined_read_leaves_in_one_piece_and_mixed_ones_packet_by_packet() -> None:
    table = new_table()
    one, two = connect(table, 1, 2), connect(table, 1, 3)
    same = [packet(one.source_id, bytes([i]) * 100) for i in range(9)]
    same.append(packet(one.source_id, b"short"))
    (joined,) = send(table, 0.0, received(1, *same))
    assert joined.segment_size == 109
    assert cut([joined]) == [(leg(2).remote, packet(receive_id(2), same[i][9:])) for i in range(10)]

    mixed = [packet(c.source_id, bytes([i]) * 100) for i, c in enumerate([one, two, one])]
    transmits = send(table, 0.0, received(1, *mixed, mixed[0][:9]))
    assert Counter(cut(transmits)) == Counter(
        [
            (leg(2).remote, packet(receive_id(2), mixed[0][9:])),
            (leg(3).remote, packet(receive_id(3), mixed[1][9:])),
            (leg(2).remote, packet(receive_id(2), mixed[2][9:])),
        ]
    )


@pytest.mark.spec("RELAY-19")
def test_single_reads_of_equal_size_leave_together_within_the_kernels_bounds() -> None:
    table = new_table()
    offer = connect(table, 1, 2)
    sizes = [100] * (MAX_SEGMENTS + 3) + [50, 100, 100, 200, 1200]
    batch = [received(1, packet(offer.source_id, bytes(size))) for size in sizes]
    transmits = send(table, 0.0, *batch)

    assert [len(inner) - 9 for _, inner in cut(transmits)] == sizes
    assert [-(-len(t.buffer) // t.segment_size) for t in transmits] == [64, 4, 2, 1, 1]

    batch[1] = batch[1]._replace(ecn=1)
    assert [t.ecn for t in send(table, 0.0, *batch[:3])] == [0, 1, 0]
    big = [received(1, packet(offer.source_id, bytes(1400))) for _ in range(60)]
    assert [len(t.buffer) for t in send(table, 0.0, *big)] == [46 * 1409, 14 * 1409]


@pytest.mark.spec("RELAY-16")
def test_a_packet_is_held_for_20_ms_at_most_and_queues_are_bounded() -> None:
    rate = 100_000
    table = new_table(replace(UNLIMITED, circuit_rate=rate))
    offer = connect(table, 1, 2)
    now, left = 0.0, 0
    arrivals: dict[bytes, float] = {}
    serial = 0
    while now < 2.0:
        batch: list[Received] = []
        for _ in range(4):
            inner = serial.to_bytes(8, "big") + bytes(991)
            arrivals[inner] = now
            batch.append(received(1, packet(offer.source_id, inner)))
            serial += 1
        for _, data in cut(send(table, now, *batch)):
            assert now - arrivals[data[9:]] <= HOLD + 1e-6
            left += len(data)
        deadline = table.poll_timeout()
        assert deadline is not None
        assert deadline.at > now
        now += 0.005
    # The bucket at the start, and its rate from then on.
    assert 1.9 * rate < left < 2.0 * rate + 65_536 + 3000
    forward, _ = table.traffic()[offer.key]
    assert forward.received_packets == serial
    assert forward.forwarded_bytes == left

    flood = [received(1, packet(offer.source_id, bytes(1200))) for _ in range(1000)]
    table.handle_received(flood, now)
    queued = sum(len(data) for _, data in cut(table.poll_transmits(now + 1000.0)))
    assert queued == 0  # all of them too old


@pytest.mark.spec("RELAY-18")
def test_rates_hold_for_circuit_sender_receiver_and_relay() -> None:
    rate = 200_000
    for limits in (
        replace(UNLIMITED, circuit_rate=rate),
        replace(UNLIMITED, peer_rate=rate),
        replace(UNLIMITED, total_rate=rate),
    ):
        table = new_table(limits)
        carried = run(table, [(1, 2), (1, 3), (4, 3)], [10 * rate] * 3, seconds=1.0)
        burst = 65_536
        if limits.circuit_rate:
            expected = [rate + burst] * 3
        elif limits.peer_rate:  # peer 1 sends on two, peer 3 receives on two
            assert carried[0] + carried[1] <= rate + burst + 3000
            assert carried[1] + carried[2] <= rate + burst + 3000
            assert sum(carried) > rate + burst
            continue
        else:
            assert sum(carried) <= rate + burst + 3000
            expected = [(rate + burst) / 3] * 3
        for size, bound in zip(carried, expected, strict=True):
            assert 0.85 * bound < size < 1.05 * bound


@pytest.mark.spec("RELAY-17")
@pytest.mark.parametrize("seed", range(3))
def test_one_greedy_circuit_leaves_the_others_their_share(seed: int) -> None:
    total = 2_000_000
    table = new_table(replace(UNLIMITED, total_rate=total))
    ends = [(2 * i, 2 * i + 1) for i in range(10)]
    offered = [total // 10] * 9 + [10 * total // 10]
    carried = run(table, ends, offered, seconds=1.5, rng=Random(seed))

    for size in carried[:9]:
        assert size >= 0.9 * 1.5 * total / 10
    assert sum(carried) <= 1.5 * total + 70_000


@pytest.mark.spec("RELAY-17")
def test_a_turn_is_short_while_others_wait() -> None:
    table = new_table(replace(UNLIMITED, total_rate=2_000_000))
    one, two = connect(table, 1, 2), connect(table, 3, 4)
    batch = [received(1, *[packet(one.source_id, bytes(991))] * 20)]
    batch += [received(3, *[packet(two.source_id, bytes(991))] * 20)]
    transmits = send(table, 0.0, *batch)

    # A turn is 2,000 bytes at this rate; a solitary circuit's batch is not cut.
    assert [len(transmit.buffer) for transmit in transmits[:4]] == [2000] * 4
    assert [transmit.remote for transmit in transmits[:4]] == [leg(2).remote, leg(4).remote] * 2
    assert len(send(table, 1.0, batch[0])) == 1


@pytest.mark.spec("RELAY-17")
def test_who_was_alone_for_long_owes_nothing_when_another_one_comes() -> None:
    table = new_table(replace(UNLIMITED, total_rate=1_000_000))
    one, two = connect(table, 1, 2), connect(table, 3, 4)
    first = received(1, *[packet(one.source_id, bytes(991))] * 10)
    second = received(3, *[packet(two.source_id, bytes(991))] * 10)
    now = 0.0
    carried: Counter[SocketAddr] = Counter()
    for step in range(400):
        both = step >= 200
        for remote, data in cut(send(table, now, *([first, second] if both else [first]))):
            carried[remote] += len(data) * both
        now += 0.005

    assert carried[leg(2).remote] == pytest.approx(carried[leg(4).remote], rel=0.05)


@pytest.mark.spec("RELAY-16")
def test_a_flood_between_two_drains_meets_a_bounded_queue() -> None:
    table = new_table()
    offer = connect(table, 1, 2)
    flood = [received(1, packet(offer.source_id, bytes(1391)))] * 2000
    bound = 2 * MIN_BURST + HOLD * UNLIMITED_QUEUE_RATE
    out = sum(len(data) for _, data in cut(send(table, 0.0, *flood)))
    assert bound - 1400 < out <= bound


@pytest.mark.spec("RELAY-17")
@pytest.mark.spec("RELAY-18")
def test_a_circuit_that_sends_little_is_not_delayed_by_busy_ones() -> None:
    table = new_table(replace(UNLIMITED, total_rate=1_000_000))
    busy = [connect(table, 2 * i, 2 * i + 1) for i in range(40)]
    quiet = connect(table, 100, 101)
    now, passed = 0.0, 0
    for step in range(400):
        batch = [
            received(2 * i, *[packet(o.source_id, bytes(1200))] * 2) for i, o in enumerate(busy)
        ]
        if step % 20 == 0:
            batch.append(received(100, packet(quiet.source_id, bytes(100))))
        for remote, _ in cut(send(table, now, *batch)):
            passed += remote == leg(101).remote
        now += 0.005
    assert passed >= 19


@pytest.mark.spec("RELAY-25")
def test_what_came_in_is_counted_apart_from_what_was_forwarded() -> None:
    table = new_table(replace(UNLIMITED, circuit_rate=1000))
    offer = connect(table, 1, 2)
    flood = [received(1, packet(offer.source_id, bytes(991))) for _ in range(500)]
    out = cut(send(table, 0.0, *flood))
    send(table, 0.0, received(2, packet(offer.target_id, bytes(91))))

    sent = Traffic(500, 500_000, len(out), 1000 * len(out))
    back = Traffic(1, 100, 1, 100)
    assert 0 < len(out) < 70
    expected = {leg(1).peer: PeerUsage(sent, back), leg(2).peer: PeerUsage(back, sent)}
    assert table.usage() == expected
    table.close(offer.key, "done")
    assert table.usage() == expected
    assert table.traffic() == {}


@pytest.mark.spec("RELAY-14")
def test_a_circuit_with_a_duration_or_a_volume_is_told_before_its_end() -> None:
    table = new_table(replace(UNLIMITED, circuit_duration=60))
    offer = connect(table, 1, 2)
    assert offer.limit.duration == 60
    deadline = table.poll_timeout()
    assert deadline is not None
    while deadline is not None and deadline.at < 50.0:  # the offer's own
        table.handle_timeout(deadline.at)
        deadline = table.poll_timeout()
    assert table.poll_events() == []
    table.handle_timeout(50.0)
    assert table.poll_events() == [
        CircuitEndsSoon(offer.key, Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE)
    ]
    table.handle_timeout(60.0)
    assert table.poll_events() == [CircuitClosed(offer.key, "its time is over")]

    table = new_table(replace(UNLIMITED, circuit_data=10_000))
    offer = connect(table, 1, 2)
    for expected in (
        [],
        [CircuitEndsSoon(offer.key, Status.RESOURCE_LIMIT_EXCEEDED, 0.0)],
        [CircuitClosed(offer.key, "its volume is spent")],
    ):
        send(table, 1.0, *[received(1, packet(offer.source_id, bytes(991)))] * 4)
        deadline = table.poll_timeout()
        assert deadline is not None
        table.handle_timeout(1.2)
        events = table.poll_events()
        assert [type(event) for event in events] == [type(event) for event in expected]


@pytest.mark.spec("RELAY-14")
@pytest.mark.spec("RELAY-24")
def test_draining_announces_the_end_of_all_circuits_and_brings_it() -> None:
    table = new_table()
    offers = [connect(table, 1, 2), connect(table, 3, 4)]
    table.drain(5.0, 1.0)
    assert table.poll_events() == [
        CircuitEndsSoon(offer.key, Status.CONNECTION_FAILED, 5.0) for offer in offers
    ]
    assert send(table, 2.0, received(1, packet(offers[0].source_id, b"still")))
    table.handle_timeout(6.0)
    assert [type(event) for event in table.poll_events()] == [CircuitClosed] * 2


@pytest.mark.spec("RELAY-26")
def test_the_months_volume_is_announced_and_then_kept() -> None:
    table = new_table(replace(UNLIMITED, monthly_bytes=100_000), used=89_500)
    offer = connect(table, 1, 2)
    batch = [received(1, packet(offer.source_id, bytes(991)))]
    send(table, 0.0, *batch)
    table.handle_timeout(0.1)
    assert table.poll_events() == [
        VolumeNearlySpent(),
        CircuitEndsSoon(offer.key, Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE),
    ]
    assert send(table, 0.2, *batch * 10)
    assert send(table, 0.3, *batch) == []
    table.handle_timeout(0.4)
    assert table.poll_events() == [
        CircuitClosed(offer.key, "the relay's volume of this month is spent")
    ]


@pytest.mark.spec("RELAY-26")
def test_the_end_of_the_volume_is_announced_in_each_month_anew() -> None:
    table = new_table(replace(UNLIMITED, monthly_bytes=100_000))
    month = 40 * 24 * 3600.0
    for now in (0.0, month):
        offer = connect(table, 1, 2, now)
        send(table, now, *[received(1, packet(offer.source_id, bytes(991)))] * 65)
        send(table, now + 0.05, *[received(1, packet(offer.source_id, bytes(991)))] * 27)
        table.handle_timeout(now + 0.1)
        assert VolumeNearlySpent() in table.poll_events()
        table.close(offer.key, "the test is over")
        table.poll_events()


@pytest.mark.spec("RELAY-26")
def test_a_peers_share_of_the_month_ends_its_circuits_and_nobody_elses() -> None:
    limits = replace(UNLIMITED, peer_monthly_bytes=100_000)
    volume = MonthlyVolume(0, peer_cap=100_000, now=0.0, unix_now=UnixTime(1_700_000_000))
    table = CircuitTable(limits, Random(1).randbytes, volume)
    busy, other = connect(table, 1, 2, 0.0), connect(table, 3, 4, 0.0)
    send(table, 0.0, *[received(1, packet(busy.source_id, bytes(991)))] * 92)
    send(table, 0.0, *[received(3, packet(other.source_id, bytes(991)))])
    table.handle_timeout(0.1)
    notice = CircuitEndsSoon(busy.key, Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE)
    assert table.poll_events() == [notice]
    send(table, 0.1, *[received(1, packet(busy.source_id, bytes(991)))] * 8)
    table.handle_timeout(0.2)
    assert table.poll_events() == [
        CircuitClosed(busy.key, "a peer's volume of this month is spent")
    ]
    assert len(table) == 1
    month = 40 * 24 * 3600.0
    volume.roll(month)
    assert not volume.is_nearly_spent_by(leg(1).peer)


@pytest.mark.spec("RELAY-24")
def test_a_circuit_that_waits_for_the_listener_does_not_outlive_a_drain() -> None:
    table = new_table()
    offer = table.offer(leg(1), leg(2), receive_id(1), 0.0)
    table.drain(5.0, 1.0)
    assert table.poll_events() == [CircuitClosed(offer.key, "the relay lets all circuits end")]
    assert not table.activate(offer.key, receive_id(2), 2.0)


@pytest.mark.spec("RELAY-26")
def test_a_volume_that_others_use_up_is_noticed() -> None:
    limits = replace(UNLIMITED, monthly_bytes=100_000)
    volume = MonthlyVolume(limits.monthly_bytes, now=0.0, unix_now=UnixTime(1_700_000_000))
    table = CircuitTable(limits, Random(7).randbytes, volume)
    volume.add(95_000, 0.0)
    assert table.poll_timeout() is None
    table.count_volumes_soon(0.0)
    deadline = table.poll_timeout()
    assert deadline is not None
    table.handle_timeout(deadline.at)
    assert table.poll_events() == [VolumeNearlySpent()]


def run(
    table: CircuitTable,
    ends: list[tuple[int, int]],
    rates: list[int],
    *,
    seconds: float,
    rng: Random | None = None,
) -> list[int]:
    """Offers circuits their rates (bytes a second, forward); returns the bytes that came out."""
    offers = connect_all(table, ends)
    rng = rng or Random(0)
    size, step = 1200, 0.002
    carried = [0] * len(offers)
    credit = [rng.random() * size for _ in offers]
    index_of = {receive_id(index): index for index in range(len(ends))}
    now = 0.0
    while now < seconds:
        batch: list[Received] = []
        for index, (offer, rate) in enumerate(zip(offers, rates, strict=True)):
            credit[index] += rate * step * rng.uniform(0.5, 1.5)
            while credit[index] >= size:
                credit[index] -= size
                batch.append(received(ends[index][0], packet(offer.source_id, bytes(size - 9))))
        rng.shuffle(batch)
        table.handle_received(batch, now)
        end = now + step
        while True:
            for _, data in cut(table.poll_transmits(now)):
                carried[index_of[data[1:9]]] += len(data)
            deadline = table.poll_timeout()
            if deadline is None or deadline.at >= end:
                break
            now = max(now, deadline.at)
            table.handle_timeout(now)
        now = end
    return carried


@pytest.mark.spec("RELAY-45")
def test_a_circuit_that_carries_nothing_ends_and_one_that_does_goes_on() -> None:
    table = new_table()
    idle, used = connect(table, 0, 1), connect(table, 2, 3)
    send(table, 1.0, received(2, packet(used.source_id, b"hello")))
    assert (table.is_used(idle.key, 1.0), table.is_used(used.key, 1.0)) == (False, True)
    assert table.is_used(used.key, 1.0 + USED_WITHIN)
    assert not table.is_used(used.key, 1.1 + USED_WITHIN)
    table.handle_timeout(IDLE_TIMEOUT - 0.1)
    assert len(table) == 2
    deadline = table.poll_timeout()
    assert deadline is not None
    assert deadline.at == IDLE_TIMEOUT

    table.handle_timeout(IDLE_TIMEOUT)
    assert table.poll_events() == [CircuitClosed(idle.key, "it carries nothing")]
    assert not table.is_used(idle.key, IDLE_TIMEOUT)
    send(table, IDLE_TIMEOUT + 1, received(3, packet(used.target_id, b"hello")))
    # What it carries counts as much right before it is asked as right after.
    assert table.is_used(used.key, IDLE_TIMEOUT + 2)
    table.handle_timeout(2 * IDLE_TIMEOUT)
    assert len(table) == 1
    deadline = table.poll_timeout()
    assert deadline is not None
    assert deadline.at == 2 * IDLE_TIMEOUT + 1
    table.handle_timeout(2 * IDLE_TIMEOUT + 1)
    assert table.poll_events() == [CircuitClosed(used.key, "it carries nothing")]


@pytest.mark.spec("RESOURCES-24")
def test_what_waits_in_the_queues_counts_as_memory_and_has_an_eighth_of_it_at_most() -> None:
    shares = Shares(total=8 << 20, network=1, net56=1, net48=1, peer=1)
    account = Account(ResourceLimits(memory=shares))
    volume = MonthlyVolume(0, now=0.0, unix_now=UnixTime(1_700_000_000))
    limits = replace(UNLIMITED, total_rate=1)
    table = CircuitTable(limits, Random(7).randbytes, volume, account)
    offers = connect_all(table, [(n, 100 + n) for n in range(8)])
    batch = [received(n, packet(offer.source_id, bytes(1191))) for n, offer in enumerate(offers)]
    send(table, 0.0, *batch * 8)
    assert account.memory.used == 0, "a step is not worth telling"
    for _ in range(300):
        send(table, 0.0, *batch)
        assert table.held_bytes <= 1 << 20
        assert abs(account.memory.used - table.held_bytes) <= QUEUES_STEP
    assert table.held_bytes > 1 << 19
    for offer in offers:
        table.close(offer.key, "over")
    assert account.memory.used == table.held_bytes == 0
