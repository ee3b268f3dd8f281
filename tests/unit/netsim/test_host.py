"""p2pnode/netsim/host.py and stack.py"""

import pytest

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import Ecn, SocketAddr, SocketId
from p2pnode.netsim.host import HostParams
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.part import connect
from p2pnode.netsim.topology import Wire, wire
from p2pnode.netsim.trace import Drop, Kind
from p2pnode.netsim.world import EPOCH, SimulationError
from tests.unit.netsim.machines import Sender, Ticker, payloads, sender, sources

B = SocketAddr("20.0.0.2", 2)
JUMBO = LinkParams(mtu=65_535)


def exchange(net: Wire) -> tuple[Sender, SocketId, Sender]:
    """Returns a's machine and socket, and the machine that listens at b."""
    listener, _ = sender(net.b, B.port)
    machine, socket = sender(net.a, 1)
    return machine, socket, listener


def test_a_transmit_of_several_segments_leaves_as_several_datagrams() -> None:
    net = wire(1)
    machine, socket, listener = exchange(net)

    net.a.call(machine.send, socket, B, b"aaabbbcc", segment_size=3)
    net.world.run_for(1)

    assert payloads(net.b) == [b"aaa", b"bbb", b"cc"]
    assert [received.segment_size for received in listener.batches[0]] == [3, 3, 2]


@pytest.mark.parametrize(
    ("limit", "sizes", "joined"),
    [
        (64, [3, 3, 3], [9]),
        (64, [3, 3, 2], [8]),
        (64, [3, 2, 3], [5, 3]),
        (64, [2, 3, 3], [2, 6]),
        (2, [3, 3, 3], [6, 3]),
        (64, [3, 0, 3], [3, 0, 3]),
    ],
)
def test_a_host_joins_equal_datagrams_of_one_arrival_as_gro_does(
    limit: int, sizes: list[int], joined: list[int]
) -> None:
    net = wire(1, host=HostParams(gro_segments=limit))
    machine, socket, listener = exchange(net)
    for size in sizes:
        machine.send(socket, B, bytes(size))

    net.a.drain()
    net.world.run_for(1)

    assert [len(received.buffer) for received in listener.batches[0]] == joined
    assert [len(payload) for payload in payloads(net.b)] == sizes


def test_datagrams_with_different_marks_are_not_joined() -> None:
    net = wire(1, host=HostParams(gro_segments=64))
    machine, socket, listener = exchange(net)
    for ecn in (Ecn.ECT_0, Ecn.ECT_0, Ecn.CE):
        machine.send(socket, B, b"abc", ecn=ecn)

    net.a.drain()
    net.world.run_for(1)

    assert [(r.ecn, len(r.buffer)) for r in listener.batches[0]] == [(Ecn.ECT_0, 6), (Ecn.CE, 3)]


def test_what_arrives_within_the_batch_window_comes_as_one_batch() -> None:
    net = wire(1, host=HostParams(batch_window=0.01))
    machine, socket, listener = exchange(net)
    for delay in (0.0, 0.005, 0.02):
        net.world.after(delay, lambda: net.a.call(machine.send, socket, B))

    net.world.run_for(1)

    assert [len(batch) for batch in listener.batches] == [2, 1]


def test_a_full_receive_buffer_drops() -> None:
    net = wire(1, host=HostParams(receive_buffer=1000))
    machine, socket, _ = exchange(net)
    for _ in range(3):
        machine.send(socket, B, bytes(400))

    net.a.drain()
    net.world.run_for(1)

    assert len(payloads(net.b)) == 2
    assert net.world.trace.drops == {("b", Drop.BUFFER_FULL): 1}


def test_received_names_the_local_address_unless_the_host_cannot() -> None:
    for has_pktinfo, local_ip in ((True, "20.0.0.2"), (False, None)):
        net = wire(1, host=HostParams(has_pktinfo=has_pktinfo))
        machine, socket, listener = exchange(net)

        net.a.call(machine.send, socket, B)
        net.world.run_for(1)

        assert listener.batches[0][0].local_ip == local_ip


@pytest.mark.spec("NETSIM-9")
def test_the_interface_drops_what_exceeds_its_mtu_or_what_udp_can_carry() -> None:
    for mtu, sizes in ((1500, (1472, 1473)), (100_000, (65_507, 65_508))):
        net = wire(1, LinkParams(mtu=100_000), mtu=mtu)
        machine, socket, _ = exchange(net)
        for size in sizes:
            machine.send(socket, B, bytes(size))

        net.a.drain()
        net.world.run_for(1)

        assert [len(payload) for payload in payloads(net.b)] == [sizes[0]]
        assert net.world.trace.drops == {("a", Drop.TOO_BIG): 1}


def test_the_source_is_what_transmit_and_socket_say_or_what_shares_the_prefix() -> None:
    net = wire(1)
    net.a.interfaces[0].add_address("20.0.0.9/24")
    machine, socket, _ = exchange(net)
    bound = net.a.bind(5, "20.0.0.9")

    net.a.call(machine.send, socket, B)
    net.a.call(machine.send, socket, B, local_ip="20.0.0.9")
    net.a.call(machine.send, bound, B)
    net.world.run_for(1)

    assert sources(net.b) == [
        SocketAddr("20.0.0.1", 1),
        SocketAddr("20.0.0.9", 1),
        SocketAddr("20.0.0.9", 5),
    ]


@pytest.mark.parametrize(
    ("remote", "local_ip", "reason"),
    [
        (B, "20.0.0.77", Drop.BAD_SOURCE),
        (SocketAddr("2a00:1:1::2", 2), None, Drop.BAD_SOCKET),
        (B, "127.0.0.1", Drop.NO_ROUTE),
    ],
)
def test_what_cannot_be_sent_is_dropped_and_traced(
    remote: SocketAddr, local_ip: str | None, reason: Drop
) -> None:
    net = wire(1)
    machine, socket, _ = exchange(net)

    net.a.call(machine.send, socket, remote, local_ip=local_ip)

    assert net.world.trace.drops == {("a", reason): 1}


def test_addresses_come_and_go_at_run_time() -> None:
    net = wire(1)
    machine, socket, _ = exchange(net)

    net.a.interfaces[0].remove_address("20.0.0.1")
    net.a.call(machine.send, socket, B)
    net.a.interfaces[0].add_address("20.0.0.50/24")
    net.a.call(machine.send, socket, B)
    net.b.interfaces[0].remove_address("20.0.0.2")
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)

    assert net.world.trace.drops == {("a", Drop.NO_ROUTE): 1, ("b", Drop.NOT_OURS): 2}


def test_an_interface_that_is_down_neither_sends_nor_receives() -> None:
    net = wire(1)
    machine, socket, _ = exchange(net)

    net.b.interfaces[0].is_up = False
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)
    net.a.interfaces[0].is_up = False
    net.a.call(machine.send, socket, B)

    assert net.b.stack.addresses() == ()
    assert net.world.trace.drops == {("b", Drop.LINK_DOWN): 1, ("a", Drop.NO_ROUTE): 1}


def test_a_host_with_two_interfaces_sends_by_the_one_that_shares_the_prefix() -> None:
    net = wire(1)
    other = net.a.add_interface("10.0.0.1/24")
    connect(other, net.b.add_interface("10.0.0.2/24"))
    machine, socket, _ = exchange(net)

    net.a.call(machine.send, socket, SocketAddr("10.0.0.2", 2))
    net.a.call(machine.send, socket, B)
    net.a.call(machine.send, socket, B, local_ip="10.0.0.1")
    net.world.run_for(1)

    assert [str(source) for source in sources(net.b)] == ["10.0.0.1:1", "10.0.0.1:1", "20.0.0.1:1"]


def test_a_link_local_scope_belongs_to_the_host_and_stays_there() -> None:
    net = wire(1)
    net.b.add_interface()
    socket, _ = net.a.bind(1, "::"), net.b.bind(2, "::")
    machine, _ = net.a.attach(lambda _: Sender()), net.b.attach(lambda _: Sender())

    net.a.call(machine.send, socket, SocketAddr("fe80::2", 2, scope_id=1))
    net.a.call(machine.send, socket, SocketAddr("fe80::2", 2, scope_id=7))
    net.world.run_for(1)

    assert sources(net.b) == [SocketAddr("fe80::1", 1, scope_id=1)]
    assert net.world.trace.drops == {("a", Drop.NO_ROUTE): 1}


def test_a_host_talks_to_itself_without_a_network() -> None:
    net = wire(1)
    machine, socket = sender(net.a, 1)
    net.a.bind(2)

    net.a.call(machine.send, socket, SocketAddr("127.0.0.1", 2))
    net.a.call(machine.send, socket, SocketAddr("20.0.0.1", 2))
    net.world.run_for(1)

    assert sources(net.a) == [SocketAddr("127.0.0.1", 1), SocketAddr("20.0.0.1", 1)]


def test_a_specific_socket_goes_before_a_wildcard_and_closed_ports_drop() -> None:
    net = wire(1)
    machine, socket, listener = exchange(net)
    specific = net.b.bind(B.port, "20.0.0.2")

    net.a.call(machine.send, socket, B)
    net.world.run_for(1)
    net.b.close(specific)
    net.a.call(machine.send, socket, B)
    net.a.call(machine.send, socket, SocketAddr("20.0.0.2", 3))
    net.world.run_for(1)

    first, second = (batch[0].socket for batch in listener.batches)
    assert first == specific != second
    assert net.world.trace.drops == {("b", Drop.PORT_CLOSED): 1}


def test_a_port_can_be_bound_once_and_port_zero_means_any() -> None:
    net = wire(1)
    net.a.bind(5)

    with pytest.raises(SimulationError, match=r"a cannot bind 0\.0\.0\.0:5"):
        net.a.bind(5)
    assert net.a.local_addr(net.a.bind()).port >= 32_768


class Impatient(Ticker):
    """Records when it was woken; a wake before its deadline would be a mistake of the host."""

    def __init__(self, socket: SocketId, start: Instant) -> None:
        super().__init__(socket, B, 0.1, 1, start)
        self.woken: list[Instant] = []

    def handle_timeout(self, now: Instant) -> None:
        deadline = self.poll_timeout()
        assert deadline is not None
        assert now >= deadline.at
        self.woken.append(now)
        super().handle_timeout(now)


@pytest.mark.parametrize("offset", [0.0, 1e6 + 0.1, -1 / 3, 12345.678])
def test_a_machine_is_woken_once_at_each_deadline_whatever_its_clock_shows(offset: float) -> None:
    net = wire(1, host=HostParams(clock_offset=offset, unix_skew=-60))
    machine = net.a.attach(lambda host: Impatient(host.bind(1), offset))

    net.world.run_for(1.05)

    assert machine.woken == pytest.approx([offset + i / 10 for i in range(11)])
    assert machine.woken == sorted(machine.woken)
    assert net.a.now == pytest.approx(offset + 1.05)
    assert net.a.unix_now == EPOCH + net.world.now - 60


class Alarm(Sender):
    """Has one deadline, which a command moves."""

    def __init__(self) -> None:
        super().__init__()
        self.at: Instant | None = None
        self.rang: list[Instant] = []

    def set(self, at: Instant | None) -> None:
        self.at = at

    def handle_timeout(self, now: Instant) -> None:
        self.rang.append(now)
        self.at = None

    def poll_timeout(self) -> Deadline | None:
        return None if self.at is None else Deadline(self.at, "alarm")


def test_a_deadline_may_move_both_ways_and_go_away() -> None:
    net = wire(1)
    alarm = net.a.attach(lambda _: Alarm())

    net.a.call(alarm.set, 5.0)
    net.a.call(alarm.set, 2.0)
    net.world.run_for(1)
    net.a.call(alarm.set, 3.0)
    net.world.run_for(3)
    net.a.call(alarm.set, 10.0)
    net.a.call(alarm.set, None)
    net.world.run_for(10)

    assert alarm.rang == [3.0]


def test_a_suspended_host_hears_nothing_and_handles_its_deadline_when_it_wakes() -> None:
    net = wire(1)
    alarm = net.b.attach(lambda _: Alarm())
    net.b.bind(B.port)
    machine, socket = sender(net.a)
    net.b.call(alarm.set, 2.0)

    net.b.suspend()
    net.a.call(machine.send, socket, B)
    net.world.run_for(5)
    net.b.resume()
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)

    assert alarm.rang == [5.0]
    assert len(net.b.events) == 1
    assert net.world.trace.drops == {("b", Drop.HOST_DOWN): 1}


def test_a_killed_machine_can_be_replaced_by_another() -> None:
    net = wire(1)
    machine, socket, old = exchange(net)

    net.b.detach()
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)
    new = net.b.attach(lambda _: Sender())
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)

    assert old.batches == []
    assert len(new.batches) == 1
    assert net.world.trace.drops == {("b", Drop.HOST_DOWN): 1}


def test_an_event_handler_may_command_the_machine_that_told_it() -> None:
    net = wire(1)
    machine, socket, _ = exchange(net)
    socket_b = net.b.bind(9)

    def reply(event: tuple[Instant, SocketAddr, bytes]) -> None:
        net.b.call(answering.send, socket_b, event[1], b"got " + event[2])

    answering = net.b.attach(lambda _: Sender(), reply)
    net.a.call(machine.send, socket, B)
    net.world.run_for(1)

    assert payloads(net.a) == [b"got hello"]
    assert payloads(net.b) == [b"hello"]


def test_an_event_handler_may_replace_its_machine() -> None:
    net = wire(1)
    machine, socket, _ = exchange(net)
    successors: list[Sender] = []
    net.b.attach(lambda _: Sender(), lambda _: successors.append(net.b.attach(lambda _: Sender())))

    for _ in range(2):
        net.a.call(machine.send, socket, B)
        net.world.run_for(1)

    assert [len(successor.batches) for successor in successors] == [1]


def test_a_machine_that_never_stops_sending_is_an_error() -> None:
    class Chatterbox(Sender):
        def poll_events(self) -> list[tuple[Instant, SocketAddr, bytes]]:
            return [(0.0, B, b"")]

    net = wire(5)

    with pytest.raises(SimulationError, match=r"a never stops sending \(seed 5"):
        net.a.attach(lambda _: Chatterbox())


def test_every_datagram_sent_is_delivered_or_dropped() -> None:
    net = wire(3, LinkParams(loss=0.2, delay=0.01))
    net.b.attach(lambda _: Sender())
    net.b.bind(B.port)
    net.a.attach(lambda host: Ticker(host.bind(), B, 0.01, 100))

    net.world.run_for(1.005)
    net.a.detach()
    net.world.run_for(1)

    counts = net.world.trace.counts
    assert counts[Kind.SENT] == 101
    assert counts[Kind.DELIVERED] + counts[Kind.DROPPED] == 101
