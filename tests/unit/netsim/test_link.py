"""p2pnode/netsim/link.py"""

import itertools

import pytest

from p2pnode.machine import Ecn, SocketAddr
from p2pnode.netsim.link import GilbertElliott, LinkParams
from p2pnode.netsim.link_presets import LADDER
from p2pnode.netsim.topology import Wire, wire
from p2pnode.netsim.trace import Drop, Kind
from tests.unit.netsim.machines import Sender, payloads, sender

B = SocketAddr("20.0.0.2", 2)
PACKETS = 5_000


def burst(params: LinkParams, count: int, *, gap: float = 0.0, size: int = 100) -> Wire:
    """Sends numbered datagrams from a to b, one each `gap` seconds, and lets them arrive."""
    net = wire("burst", params)
    sender(net.b, B.port)
    machine, socket = sender(net.a)

    def send(number: int) -> None:
        net.a.call(machine.send, socket, B, number.to_bytes(4, "big").ljust(size))

    for number in range(count):
        net.world.schedule(number * gap, send, number)
    net.world.run_for(count * gap + 60)
    return net


def numbers(net: Wire) -> list[int]:
    return [int.from_bytes(payload[:4], "big") for payload in payloads(net.b)]


def times(net: Wire) -> list[float]:
    return [at for at, _, _ in net.b.events]


def test_a_packet_arrives_after_the_delay() -> None:
    assert times(burst(LinkParams(delay=0.03), 1)) == [0.03]


def test_jitter_spreads_arrivals_and_keeps_their_order() -> None:
    net = burst(LinkParams(delay=0.01, jitter=0.05), 200, gap=0.001)

    late = [at - number * 0.001 - 0.01 for at, number in zip(times(net), numbers(net), strict=True)]
    assert numbers(net) == list(range(200))
    assert max(late) > 0.04
    assert min(late) >= -1e-9


def test_independent_loss_has_the_rate_that_was_asked_for() -> None:
    net = burst(LinkParams(loss=0.1), PACKETS, gap=0.001)

    assert net.world.trace.drop_count(Drop.LOSS, "link") == pytest.approx(PACKETS * 0.1, rel=0.15)


def test_burst_loss_has_the_rate_and_the_burst_length_that_were_asked_for() -> None:
    chain = GilbertElliott.with_rate(0.1, mean_burst=5)
    net = burst(LinkParams(bursts=chain), 4 * PACKETS, gap=0.0001)

    arrived = set(numbers(net))
    runs = [
        len(list(run))
        for lost, run in itertools.groupby(range(4 * PACKETS), lambda n: n not in arrived)
        if lost
    ]
    assert sum(runs) / (4 * PACKETS) == pytest.approx(0.1, rel=0.2)
    assert sum(runs) / len(runs) == pytest.approx(5, rel=0.2)


def test_reordering_lets_later_packets_overtake_and_loses_none() -> None:
    net = burst(LinkParams(reordering=0.1, reordering_delay=0.0035), 1000, gap=0.001)

    overtaken = sum(a > b for a, b in itertools.pairwise(numbers(net)))
    assert sorted(numbers(net)) == list(range(1000))
    assert 50 < overtaken < 150


def test_duplication_delivers_some_packets_twice() -> None:
    net = burst(LinkParams(duplication=0.2), 1000, gap=0.001)

    assert 1150 < len(numbers(net)) < 1250
    assert len(set(numbers(net))) == 1000


def test_corruption_flips_one_bit() -> None:
    net = burst(LinkParams(corruption=1.0), 1)

    sent = int.from_bytes((0).to_bytes(4, "big").ljust(100), "big")
    (arrived,) = payloads(net.b)
    assert (sent ^ int.from_bytes(arrived, "big")).bit_count() == 1


def test_corruption_leaves_an_empty_payload_alone() -> None:
    net = wire(1, LinkParams(corruption=1.0))
    sender(net.b, B.port)
    machine, socket = sender(net.a)

    net.a.call(machine.send, socket, B, b"")
    net.world.run_for(1)

    assert payloads(net.b) == [b""]


def test_rate_spaces_packets_by_their_size_on_the_wire() -> None:
    # 72 bytes and 28 of headers are 800 bits: a millisecond at 800 kbit/s.
    net = burst(LinkParams(rate=800_000), 3, size=72)

    assert times(net) == pytest.approx([0.001, 0.002, 0.003])


def test_what_does_not_fit_into_the_queue_is_dropped_at_its_tail() -> None:
    net = burst(LinkParams(rate=800_000, queue=500), 10, size=72)

    assert numbers(net) == [0, 1, 2, 3, 4]
    assert net.world.trace.drop_count(Drop.QUEUE_FULL, "link") == 5


def test_a_packet_passes_an_idle_link_even_when_it_is_bigger_than_the_queue() -> None:
    assert numbers(burst(LinkParams(rate=800_000, queue=10), 2, size=72)) == [0]


@pytest.mark.parametrize(
    ("sent", "seen"),
    [(Ecn.ECT_0, Ecn.CE), (Ecn.ECT_1, Ecn.CE), (Ecn.CE, Ecn.CE), (Ecn.NOT_ECT, Ecn.NOT_ECT)],
)
def test_a_long_queue_marks_packets_that_can_be_marked(sent: int, seen: int) -> None:
    net = wire(1, LinkParams(rate=800_000, ecn_threshold=150))
    listener, _ = sender(net.b, B.port)
    machine, socket = sender(net.a)
    for _ in range(3):
        machine.send(socket, B, bytes(72), ecn=sent)

    net.a.drain()
    net.world.run_for(1)

    marks = [received.ecn for batch in listener.batches for received in batch]
    assert marks == [sent, sent, seen]


@pytest.mark.spec("NETSIM-9")
@pytest.mark.parametrize(("ip", "headers"), [("20.0.0.2", 28), ("2a00:1:1::2", 48)])
def test_a_packet_bigger_than_the_mtu_vanishes(ip: str, headers: int) -> None:
    net = wire(1, LinkParams(mtu=1400), mtu=9000)
    net.b.bind(2, "::" if ":" in ip else "0.0.0.0")
    net.b.attach(lambda _: Sender())
    socket = net.a.bind(0, "::" if ":" in ip else "0.0.0.0")
    machine = net.a.attach(lambda _: Sender())
    for size in (1400 - headers, 1401 - headers):
        machine.send(socket, SocketAddr(ip, 2), bytes(size))

    net.a.drain()
    net.world.run_for(1)

    assert [len(payload) for payload in payloads(net.b)] == [1400 - headers]
    assert net.world.trace.drop_count(Drop.TOO_BIG, "link") == 1


def test_both_directions_are_configured_on_their_own() -> None:
    net = wire(1, LinkParams(delay=0.01), LinkParams(delay=0.5))
    at_b, socket_b = sender(net.b, B.port)
    at_a, socket_a = sender(net.a, 1)

    net.a.call(at_a.send, socket_a, B)
    net.b.call(at_b.send, socket_b, SocketAddr("20.0.0.1", 1))
    net.world.run_for(1)

    assert times(net) == [0.01]
    assert [at for at, _, _ in net.a.events] == [0.5]


def test_a_link_can_change_at_run_time() -> None:
    net = wire(1, LinkParams(delay=0.01))
    sender(net.b, B.port)
    machine, socket = sender(net.a)

    net.link.configure(up=LinkParams(delay=0.2), down=LinkParams(loss=1.0))
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)

    assert times(net) == [0.2]


def test_a_cut_link_loses_what_is_sent_and_what_is_under_way() -> None:
    net = wire(1, LinkParams(delay=0.1))
    sender(net.b, B.port)
    machine, socket = sender(net.a)

    net.a.call(machine.send, socket, B)
    net.world.run_for(0.05)
    net.link.set_up(False)
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)
    net.link.set_up(True)
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)

    assert net.world.trace.drop_count(Drop.LINK_DOWN) == 2
    assert net.world.trace.counts[Kind.DELIVERED] == 1


def test_the_ladder_goes_from_fast_to_slow() -> None:
    rates = [params.rate for name, params in LADDER.items() if name != "satellite"]

    assert rates == sorted(rates, key=lambda rate: -(rate or 0))
