"""p2pnode/netsim/host_links.py, link_end.py, pipe.py and way.py"""

from collections.abc import Callable
from hashlib import sha256

import pytest

from p2pnode.links import (
    LINK_CREDIT,
    LINK_GRANT,
    MAX_CLOSE_TIME,
    MAX_LINK_READ,
    LinkClosed,
    LinkData,
    LinkFailed,
    LinkId,
    LinkObstacle,
)
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netsim import nat_presets
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import HostParams
from p2pnode.netsim.host_links import LinkKnobs
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.mermaid import to_mermaid
from p2pnode.netsim.pipe import CONNECT_TIMEOUT, SILENCE_TIMEOUT, Pipe
from p2pnode.netsim.topology import Wire, internet, ipv6_pair, nat_pair, wire
from p2pnode.netsim.trace import LinkKind
from p2pnode.netsim.world import SimulationError, World
from tests.support.datagram_machines import ScriptedMachine
from tests.support.link_machines import Deaf, EchoTalker, Flood, Talker

B = SocketAddr("20.0.0.2", 4001)
DELAY = LinkParams(delay=0.025)
FIRST, ACCEPTED = LinkId(0), LinkId(1)
PIECES = [(1, 1), (1, MAX_LINK_READ), (MAX_LINK_READ, MAX_LINK_READ), (3, 5)]


class Pair:
    """Two hosts on a wire, one listens, and both machines."""

    def __init__(
        self,
        a: Talker,
        b: Talker,
        *,
        seed: int = 1,
        params: LinkParams = DELAY,
        knobs: LinkKnobs | None = None,
    ) -> None:
        self.net: Wire = wire(seed, params, host=HostParams(links=knobs or LinkKnobs()))
        self.world, self.a, self.b = self.net.world, a, b
        self.listener = self.net.b.listen(B.port)
        self.net.a.attach(lambda host: a)
        self.net.b.attach(lambda host: b)

    def connect(self) -> LinkId:
        """Connects from a to b; returns the link's id at a."""
        link = self.net.a.call(self.a.connect, B)
        self.world.run_until(lambda: self.a.links[link].is_connected, timeout=3)
        return link

    def pipe(self) -> Pipe:
        end = self.net.a.links.ends[FIRST]
        assert end.pipe is not None
        return end.pipe


def noise(size: int) -> bytes:
    """Returns bytes in which nothing repeats."""
    return b"".join(sha256(b"%d" % n).digest() for n in range(size // 32 + 1))[:size]


@pytest.mark.spec("LINK-4")
@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("size", [1, 1000, 20_000])
def test_bytes_come_in_order_however_they_are_cut(pieces: tuple[int, int], size: int) -> None:
    pair = Pair(Talker(), EchoTalker(), knobs=LinkKnobs(pieces=pieces))
    link, data = pair.connect(), noise(size)

    pair.net.a.call(pair.a.write, link, data)
    pair.net.a.call(pair.a.finish, link)
    pair.world.run_until(lambda: pair.a.links[link].end is not None, timeout=60)

    talk = pair.a.links[link]
    assert talk.received == data
    assert talk.end == LinkClosed(link, was_reset=False)
    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=False)
    cuts = {len(event.data) for event in pair.b.told if isinstance(event, LinkData)}
    assert min(pieces[0], size) <= max(cuts) <= pieces[1]


def test_the_seed_chooses_the_cuts() -> None:
    def cuts(seed: int) -> list[int]:
        pair = Pair(Talker(), EchoTalker(), seed=seed)
        link = pair.connect()
        pair.net.a.call(pair.a.write, link, bytes(50_000))
        pair.world.run_for(5)
        return [len(event.data) for event in pair.b.told if isinstance(event, LinkData)]

    assert cuts(1) == cuts(1)
    assert cuts(1) != cuts(2)


@pytest.mark.spec("LINK-3")
@pytest.mark.parametrize("window", [1000, LINK_GRANT, 256 * 1024])
def test_a_machine_that_never_reads_stops_its_peer_at_the_bound(window: int) -> None:
    pair = Pair(Flood(), Deaf(), knobs=LinkKnobs(window=window))
    link = pair.connect()

    pair.world.run_for(60)

    assert 0 <= LINK_CREDIT + window - pair.a.links[link].written < LINK_GRANT
    assert pair.b.received_bytes == 0
    assert pair.a.links[link].end is None


@pytest.mark.spec("LINK-4")
def test_a_machine_that_reads_again_gets_all_that_waited() -> None:
    pair = Pair(Flood(), Deaf(), knobs=LinkKnobs(window=LINK_GRANT))
    link = pair.connect()
    pair.world.run_for(60)
    held_up_at = pair.a.links[link].written
    pair.net.b.call(pair.b.resume, ACCEPTED)
    pair.world.run_for(1)

    assert pair.b.received_bytes > LINK_GRANT
    assert pair.a.links[link].written > held_up_at


def test_bytes_take_their_time_by_delay_and_rate() -> None:
    pair = Pair(Talker(), Talker(), params=LinkParams(delay=0.5, rate=8000))
    link = pair.connect()
    start = pair.world.now
    pair.net.a.call(pair.a.write, link, bytes(500))
    pair.world.run_until(lambda: pair.b.received_bytes == 500, timeout=5)

    assert pair.world.now - start == pytest.approx(0.5 + 0.5)


@pytest.mark.spec("LINK-5")
def test_who_has_half_closed_still_reads() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.connect()
    pair.net.a.call(pair.a.write, link, b"question")
    pair.net.a.call(pair.a.finish, link)
    pair.world.run_for(1)

    assert pair.b.links[ACCEPTED].received == b"question"
    assert pair.b.links[ACCEPTED].has_eof
    pair.net.b.call(pair.b.write, ACCEPTED, b"answer")
    pair.world.run_for(1)
    assert pair.a.links[link].received == b"answer"
    assert pair.a.links[link].end is None

    pair.net.b.call(pair.b.finish, ACCEPTED)
    pair.world.run_for(1)
    assert pair.a.links[link].end == LinkClosed(link, was_reset=False)
    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=False)
    assert not pair.net.a.links.ends
    assert not pair.net.b.links.ends


@pytest.mark.spec("LINK-6")
def test_a_link_that_is_closed_delivers_what_was_written() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.connect()
    pair.net.a.call(pair.a.write, link, bytes(LINK_CREDIT))
    pair.net.b.call(pair.b.write, ACCEPTED, b"nobody will read this")
    pair.net.a.call(pair.a.close, link)
    pair.net.b.call(pair.b.finish, ACCEPTED)
    pair.world.run_for(1)

    assert len(pair.b.links[ACCEPTED].received) == LINK_CREDIT
    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=False)
    assert pair.a.links[link].received == b""


@pytest.mark.spec("LINK-6")
@pytest.mark.parametrize("b", [Deaf, Talker])
def test_a_closed_link_whose_peer_does_not_end_is_reset_in_time(b: type[Talker]) -> None:
    pair = Pair(Talker(), b())
    link = pair.connect()
    pair.net.a.call(pair.a.write, link, b"last words")
    closed_at = pair.world.now
    pair.net.a.call(pair.a.close, link)
    pair.world.run_until(lambda: pair.b.links[ACCEPTED].end is not None, timeout=60)

    assert pair.world.now == pytest.approx(closed_at + MAX_CLOSE_TIME + DELAY.delay)
    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=True)


@pytest.mark.spec("LINK-6")
@pytest.mark.parametrize("a", [Deaf, Talker])
def test_what_comes_to_a_closed_link_is_thrown_away_until_its_end(a: type[Talker]) -> None:
    pair = Pair(a(), Talker(), knobs=LinkKnobs(window=10_000))
    link = pair.connect()
    pair.net.b.call(pair.b.write, ACCEPTED, bytes(100_000))
    pair.net.b.call(pair.b.finish, ACCEPTED)
    pair.world.run_for(0.03)
    pair.net.a.call(pair.a.close, link)
    pair.world.run_for(MAX_CLOSE_TIME / 2)

    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=False)
    assert pair.net.a.links.count == 0


def test_bytes_keep_their_order_where_the_cable_becomes_shorter() -> None:
    pair = Pair(Talker(), Talker(), params=LinkParams(delay=1.0))
    link = pair.connect()
    pair.net.a.call(pair.a.write, link, b"first")
    pair.net.link.configure(up=LinkParams(delay=0.1))
    pair.net.a.call(pair.a.write, link, b"second")
    pair.world.run_for(0.5)
    assert pair.b.received_bytes == 0
    pair.world.run_for(1)
    assert pair.b.links[ACCEPTED].received == b"firstsecond"


@pytest.mark.spec("LINK-6")
def test_a_reset_reaches_a_paused_peer_and_spares_nothing() -> None:
    pair = Pair(Talker(), Deaf())
    link = pair.connect()
    pair.net.a.call(pair.a.write, link, b"lost")
    pair.net.a.call(pair.a.close, link, reset=True)
    pair.world.run_for(1)

    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=True)
    assert pair.b.received_bytes == 0


# What may be done to a link, and the state that it is in by then.
STATES: dict[str, Callable[[Pair, LinkId], object]] = {
    "open": lambda pair, link: None,
    "unread": lambda pair, link: pair.net.b.call(pair.b.write, ACCEPTED, bytes(1000)),
    "full": lambda pair, link: pair.net.a.call(pair.a.write, link, bytes(10**6)),
    "paused": lambda pair, link: pair.net.a.call(pair.a.pause, link),
    "shut": lambda pair, link: pair.net.a.call(pair.a.finish, link),
    "eof": lambda pair, link: pair.net.b.call(pair.b.finish, ACCEPTED),
    "both": lambda pair, link: (
        pair.net.a.call(pair.a.finish, link),
        pair.net.b.call(pair.b.finish, ACCEPTED),
    ),
    "cut": lambda pair, link: setattr(pair.pipe(), "is_cut", True),
}
ENDS: dict[str, Callable[[Pair, LinkId], object]] = {
    "close": lambda pair, link: pair.net.a.call(pair.a.close, link),
    "reset": lambda pair, link: pair.net.a.call(pair.a.close, link, reset=True),
    "closed": lambda pair, link: pair.net.b.call(pair.b.close, ACCEPTED),
    "was reset": lambda pair, link: pair.net.b.call(pair.b.close, ACCEPTED, reset=True),
    "both": lambda pair, link: (
        pair.net.a.call(pair.a.close, link, reset=True),
        pair.net.b.call(pair.b.close, ACCEPTED, reset=True),
    ),
    "process ends": lambda pair, link: pair.net.a.attach(lambda host: Talker()),
}


@pytest.mark.spec("LINK-2")
@pytest.mark.parametrize("wait", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", STATES)
def test_a_link_ends_in_every_state_and_leaves_nothing(state: str, end: str, wait: float) -> None:
    pair = Pair(Talker(), Talker(), knobs=LinkKnobs(window=1000, pieces=(1, 100)))
    link = pair.connect()
    pipe = pair.pipe()
    STATES[state](pair, link)
    pair.world.run_for(wait)
    ENDS[end](pair, link)
    pair.world.run_for(20)
    pipe.is_cut = False
    for machine, host in ((pair.a, pair.net.a), (pair.b, pair.net.b)):
        for number, talk in machine.links.items():  # who does not know yet hears of it by writing
            if talk.end is None and not talk.is_closed and host.links.ends.get(number):
                host.call(machine.resume, number)
                host.call(machine.write, number, b"are you there?")
    pair.world.run_for(20)
    for machine, host in ((pair.a, pair.net.a), (pair.b, pair.net.b)):
        for number in [*host.links.ends]:
            host.call(machine.close, number)
    pair.world.run_for(20)

    assert not pair.net.a.links.ends
    assert not pair.net.b.links.ends
    assert pair.net.a.links.count == pair.net.b.links.count == 0


def failure(talker: Talker, link: LinkId) -> LinkObstacle | None:
    end = talker.links[link].end
    return end.obstacle if isinstance(end, LinkFailed) else None


@pytest.mark.parametrize(
    ("remote", "options", "obstacle"),
    [
        (B._replace(port=1), {}, LinkObstacle.REFUSED),
        (SocketAddr("20.0.0.1", 7), {}, LinkObstacle.REFUSED),
        (SocketAddr("20.0.0.9", 1), {}, LinkObstacle.TIMED_OUT),
        (SocketAddr("127.0.0.1", 1), {"local_ip": "20.0.0.1"}, LinkObstacle.REFUSED),
        (B, {"local_ip": "127.0.0.1"}, LinkObstacle.NO_ROUTE),
        (B, {"local_ip": "20.0.0.7"}, LinkObstacle.ADDRESS_NOT_AVAILABLE),
        (B, {"listener": SocketId(77)}, LinkObstacle.ADDRESS_NOT_AVAILABLE),
    ],
)
def test_a_link_that_cannot_be_says_why(
    remote: SocketAddr, options: dict[str, object], obstacle: LinkObstacle
) -> None:
    pair = Pair(Talker(), Talker())
    if remote.ip == "20.0.0.9":
        pair.net.b.interfaces[0].add_address("20.0.0.9/24")
        pair.net.link.set_up(False)

    link = pair.net.a.call(pair.a.connect, remote, **options)  # type: ignore[arg-type]
    pair.world.run_for(CONNECT_TIMEOUT + 1)

    assert failure(pair.a, link) is obstacle
    assert pair.net.a.links.count == 0


def test_a_listener_lends_its_port_once_a_remote_address() -> None:
    pair = Pair(Talker(), Talker())
    listener = pair.net.a.listen(4001)
    links = [pair.net.a.call(pair.a.connect, B, listener=listener) for _ in range(2)]
    pair.world.run_for(1)

    assert pair.b.links[ACCEPTED].remote == SocketAddr("20.0.0.1", 4001)
    assert failure(pair.a, links[1]) is LinkObstacle.ADDRESS_IN_USE
    pair.net.a.call(pair.a.close, links[0], reset=True)
    pair.world.run_for(1)
    again = pair.net.a.call(pair.a.connect, B, listener=listener)
    pair.world.run_for(1)
    assert pair.a.links[again].is_connected


def test_two_may_not_listen_on_one_port() -> None:
    pair = Pair(Talker(), Talker())
    with pytest.raises(SimulationError, match="b cannot listen on"):
        pair.net.b.listen(B.port)
    pair.net.b.close(pair.listener)
    assert pair.net.b.local_addr(pair.net.b.listen(B.port)) == SocketAddr("0.0.0.0", B.port)


def test_connecting_can_be_given_up() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.net.a.call(pair.a.connect, B)
    pair.net.a.call(pair.a.close, link)
    pair.world.run_for(1)

    assert pair.a.told == []
    assert all(talk.end for talk in pair.b.links.values())
    assert pair.net.b.links.count == 0


def test_a_host_with_all_its_places_taken_refuses_and_begins_none() -> None:
    pair = Pair(Talker(), Talker(), knobs=LinkKnobs(max_links=2))
    links = [pair.net.a.call(pair.a.connect, B) for _ in range(3)]
    pair.world.run_for(1)
    assert [failure(pair.a, link) for link in links] == [None, None, LinkObstacle.TOO_MANY]

    third = pair.net.b.call(pair.b.connect, SocketAddr("20.0.0.1", 1))
    pair.world.run_for(1)
    assert failure(pair.b, third) is LinkObstacle.TOO_MANY


@pytest.mark.spec("NETSIM-15")
def test_a_cut_is_silence_and_what_was_under_way_comes_when_it_is_mended() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.connect()
    pair.net.link.set_up(False)
    pair.net.a.call(pair.a.write, link, b"late")
    pair.world.run_for(SILENCE_TIMEOUT / 2)
    assert pair.b.received_bytes == 0

    pair.net.link.set_up(True)
    pair.world.run_for(1)
    assert pair.b.links[ACCEPTED].received == b"late"
    assert pair.a.links[link].end is None


@pytest.mark.spec("NETSIM-15")
def test_who_waits_for_an_answer_through_a_cut_is_told_and_who_waits_for_nothing_is_not() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.connect()
    pair.net.link.set_up(False)
    pair.net.a.call(pair.a.write, link, b"never")
    pair.world.run_for(SILENCE_TIMEOUT + 1)

    assert pair.a.links[link].end == LinkClosed(link, was_reset=True)
    assert pair.b.links[ACCEPTED].end is None
    pair.net.link.set_up(True)
    pair.net.b.call(pair.b.write, ACCEPTED, b"anybody?")
    pair.world.run_for(1)
    assert pair.b.links[ACCEPTED].end == LinkClosed(ACCEPTED, was_reset=True)


@pytest.mark.spec("NETSIM-15")
def test_a_lid_that_is_closed_is_silence() -> None:
    pair = Pair(Talker(), EchoTalker())
    link = pair.connect()
    pair.net.b.suspend()
    pair.net.a.call(pair.a.write, link, b"wake up")
    pair.world.run_for(10)
    assert pair.a.received_bytes == 0
    pair.net.b.resume()
    pair.world.run_for(1)
    assert pair.a.links[link].received == b"wake up"

    pair.net.b.suspend()
    pair.net.a.call(pair.a.write, link, b"never")
    pair.world.run_for(SILENCE_TIMEOUT + 1)
    assert pair.a.links[link].end == LinkClosed(link, was_reset=True)


@pytest.mark.spec("NETSIM-15")
def test_a_host_behind_a_nat_connects_and_is_not_reached() -> None:
    net = nat_pair(1, nat_presets.full_cone(), nat_presets.home())
    machines = {host.name: Talker() for host in (net.a, net.b, net.public[0])}
    for host in (net.a, net.b, net.public[0]):
        host.listen(4001)
        host.attach(lambda host: machines[host.name])
    out = net.a.call(machines["a"].connect, SocketAddr(net.public[0].ip, 4001))
    assert net.site_b.nat is not None
    into = net.a.call(machines["a"].connect, SocketAddr(net.site_b.nat.public_ips[0], 4001))
    net.world.run_for(CONNECT_TIMEOUT + 1)

    assert machines["a"].links[out].is_connected
    (seen,) = machines["s0"].links.values()
    assert net.site_a.nat is not None
    assert seen.remote is not None
    assert seen.remote.ip == net.site_a.nat.public_ips[0]
    assert failure(machines["a"], into) is LinkObstacle.TIMED_OUT


@pytest.mark.spec("NETSIM-15")
@pytest.mark.parametrize("filters", [True, False])
def test_a_firewall_that_filters_lets_nobody_in(filters: bool) -> None:
    behaviour = FirewallBehaviour() if filters else FirewallBehaviour(filtering=None)
    net = ipv6_pair(1, behaviour)
    machines = {host.name: Talker() for host in (net.a, net.b, net.public[0])}
    for host in (net.a, net.b, net.public[0]):
        host.listen(4001, "::")
        host.attach(lambda host: machines[host.name])
    public = next(ip for ip in net.public[0].stack.addresses() if ":" in ip)
    out = net.a.call(machines["a"].connect, SocketAddr(public, 4001))
    into = net.a.call(machines["a"].connect, SocketAddr(net.b.ip, 4001))
    net.world.run_for(CONNECT_TIMEOUT + 1)

    assert machines["a"].links[out].is_connected
    assert machines["a"].links[into].is_connected is not filters


def test_a_host_connects_to_itself_and_to_its_neighbour_by_scope() -> None:
    pair = Pair(Talker(), Talker())
    pair.net.b.listen(4001, "::")
    itself = pair.net.b.call(pair.b.connect, SocketAddr("127.0.0.1", 4001))
    near = pair.net.a.call(pair.a.connect, SocketAddr("fe80::2", 4001, scope_id=1))
    pair.world.run_for(1)

    assert pair.b.links[itself].is_connected
    assert pair.a.links[near].is_connected
    assert SocketAddr("fe80::1", pair.a.links[near].local.port, 1) in [  # type: ignore[union-attr]
        talk.remote for talk in pair.b.links.values()
    ]


def test_the_end_of_a_process_resets_its_links_and_nobody_is_there_then() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.connect()
    pair.net.b.detach()
    pair.world.run_for(1)
    assert pair.a.links[link].end == LinkClosed(link, was_reset=True)

    again = pair.net.a.call(pair.a.connect, B)
    pair.world.run_for(1)
    assert failure(pair.a, again) is LinkObstacle.REFUSED


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [(1, MAX_LINK_READ), (MAX_LINK_READ, MAX_LINK_READ)])
def test_4096_links_at_once(pieces: tuple[int, int]) -> None:
    world, count = World(1), 4096
    core = internet(world)
    knobs = HostParams(links=LinkKnobs(pieces=pieces))
    server = core.host("server", params=knobs)
    clients = [core.host(f"c{n}", params=knobs) for n in range(4)]
    server.listen(4001)
    echo = server.attach(lambda host: EchoTalker())
    talkers = [client.attach(lambda host: Talker()) for client in clients]
    data = {}
    for n in range(count):
        client, talker = clients[n % 4], talkers[n % 4]
        link = talker.connect(SocketAddr(server.ip, 4001))
        data[n % 4, link] = noise(1 + n % 2000)
        talker.write(link, data[n % 4, link])
        talker.finish(link)
        if n >= count - 4:
            client.drain()
    world.run_until(lambda: all(t.end for talker in talkers for t in talker.links.values()), 60)

    for n, talker in enumerate(talkers):
        for link, talk in talker.links.items():
            assert talk.received == data[n, link]
            assert talk.end == LinkClosed(link, was_reset=False)
    assert len(echo.links) == count
    assert server.links.count == 0


def test_what_comes_through_pipes_is_traced_and_drawn() -> None:
    pair = Pair(Talker(), EchoTalker())
    link = pair.connect()
    pair.net.a.call(pair.a.write, link, b"hello")
    pair.world.run_for(1)
    pair.net.a.call(pair.a.close, link, reset=True)
    pair.world.run_for(1)
    trace = pair.world.trace

    kinds = [(record.kind, record.hosts, record.payload) for record in trace.links]
    assert (LinkKind.DATA, ("a", "b"), b"hello") in kinds
    assert [kind for kind, _, payload in kinds if not payload] == [
        LinkKind.OPEN,
        LinkKind.OPEN,
        LinkKind.RESET,
    ]
    drawn = to_mermaid(trace)
    assert "p_a-)p_b" in drawn
    assert "link data 5 B" in drawn


def test_the_digest_sees_what_comes_through_pipes() -> None:
    def digest(data: bytes) -> str:
        pair = Pair(Talker(), Talker())
        pair.net.a.call(pair.a.write, pair.connect(), data)
        pair.world.run_for(1)
        return pair.world.trace.digest()

    assert digest(b"a") == digest(b"a")
    assert digest(b"a") != digest(b"b")


def test_a_machine_without_links_accepts_none() -> None:
    pair = Pair(Talker(), Talker())
    pair.net.b.attach(lambda host: ScriptedMachine())
    link = pair.net.a.call(pair.a.connect, B)
    pair.world.run_for(1)
    assert failure(pair.a, link) is LinkObstacle.REFUSED


def test_a_machine_that_breaks_the_rules_of_links_is_found_out() -> None:
    pair = Pair(Talker(), Talker())
    link = pair.connect()
    pair.a.links[link].credit *= 2
    with pytest.raises(SimulationError, match=r"a breaks the contract of machines: .*credit"):
        pair.net.a.call(pair.a.write, link, bytes(2 * LINK_CREDIT))
