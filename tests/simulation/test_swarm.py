"""Whole nodes in simulated networks: dialling, identify, ping, streams, observers."""

import subprocess
import sys
from pathlib import Path

import pytest

from p2pnode.errors import (
    ClosedByPeer,
    ClosedLocally,
    ConnectionLost,
    DialError,
    PeerIdMismatch,
    ProtocolNotSupported,
)
from p2pnode.machine import SocketAddr
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.nat_presets import corporate, full_cone, home
from p2pnode.netsim.topology import PairParams, SiteParams, internet, nat_pair, pair, wire
from p2pnode.netsim.world import World
from p2pnode.protocols.identify import MappingKind
from p2pnode.protocols.identify.socket_evidence import OBSERVATION_LIFETIME
from p2pnode.swarm.events import (
    AddressObserved,
    ConnectionClosed,
    DialFailed,
    DialSucceeded,
    PathChanged,
    PeerIdentified,
    PingFailed,
    PongReceived,
)
from p2pnode.swarm.swarm_stream import NEGOTIATION_TIMEOUT
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.addresses import noise_udp_multiaddr
from tests.support.echo import echo

ECHO = "/echo/1.0.0"
BULK = "/bulk/1.0.0"


def two_nodes(seed: int = 1, **link: float) -> tuple[SimNode, SimNode, World]:
    network = wire(seed, LinkParams(**link) if link else None)
    return SimNode(network.a), SimNode(network.b), network.world


def test_peers_identify_each_other() -> None:
    a, b, world = two_nodes()
    b.serve(ECHO)
    a.connect(b)
    world.run_until(lambda: bool(a.of(PeerIdentified) and b.of(PeerIdentified)), 5)
    info = a.of(PeerIdentified)[0].info
    assert info.peer_id == b.peer_id
    assert ECHO in info.protocols
    assert "/ipfs/id/1.0.0" in info.protocols
    assert info.agent_version.startswith("p2pnode/")
    assert str(info.observed_addr) == str(a.address())
    # No stranger has been seen to reach it: so it is not told to anybody.
    assert b.address() not in info.listen_addrs
    assert info.signed_peer_record is not None


@pytest.mark.spec("SWARM-8")
def test_news_are_pushed_to_peers() -> None:
    a, b, world = two_nodes()
    a.connect(b)
    world.run_until(lambda: bool(a.of(PeerIdentified) and b.of(PeerIdentified)), 5)
    b.serve("/late/1.0.0")
    world.run_until(lambda: "/late/1.0.0" in a.of(PeerIdentified)[-1].info.protocols, 5)


def test_pings_measure_the_round_trip() -> None:
    a, b, world = two_nodes(delay=0.03)
    connection = a.connect(b)
    for _ in range(3):
        before = len(a.of(PongReceived))
        a.do(a.swarm.ping, connection, world.now)
        world.run_until(lambda before=before: len(a.of(PongReceived)) > before, 5)
    assert [round(pong.rtt, 3) for pong in a.of(PongReceived)] == [0.06] * 3


@pytest.mark.spec("SWARM-6")
def test_a_request_and_its_answer_take_one_round_trip_after_the_handshake() -> None:
    a, b, world = two_nodes(delay=0.05)
    b.serve(ECHO, echo)
    start = world.now
    connection = a.connect(b)
    stream = a.open(connection, ECHO)
    a.do(stream.write, b"hello")
    got = bytearray()

    def answered() -> bool:
        got.extend(a.do(stream.read, 100))
        return bytes(got) == b"hello"

    world.run_until(answered, 5)
    assert world.now - start == pytest.approx(0.2, abs=0.01)
    assert stream.protocol == ECHO


def test_of_several_protocols_the_first_that_the_peer_speaks_is_used() -> None:
    a, b, world = two_nodes()
    b.serve(ECHO, echo)
    stream = a.open(a.connect(b), "/echo/9.0.0", ECHO)
    assert not stream.may_write
    world.run_until(lambda: stream.may_write, 5)
    assert stream.protocol == ECHO


def test_an_unknown_protocol_is_refused() -> None:
    a, b, world = two_nodes()
    stream = a.open(a.connect(b), "/nobody/1.0.0")
    a.do(stream.write, b"data that nobody wants")
    world.run_until(lambda: stream.failure is not None, 5)
    with pytest.raises(ProtocolNotSupported, match="/nobody/"):
        stream.read(100)
    world.run_for(0.5)
    assert (
        next(iter(b.swarm._transports.connections)),
        stream.stream_id,
    ) not in b.swarm._streams._streams


@pytest.mark.spec("SWARM-7")
def test_a_stream_whose_protocol_never_comes_is_given_up() -> None:
    """A slow loris holds one slot for ten seconds, not for ever."""
    a, b, world = two_nodes()
    connection = a.connect(b)
    world.run_for(1)
    raw = a.swarm._transports.connections[connection]
    stream_id = raw.streams.open()
    assert stream_id is not None
    raw.streams.write(stream_id, b"\x13/multi")
    a.do(a.swarm.send_datagram, connection, b"")
    world.run_for(NEGOTIATION_TIMEOUT - 2)
    handle = next(iter(b.swarm._transports.connections))
    assert b.swarm._streams.has_streams(handle)
    world.run_for(4)
    assert not b.swarm._streams.has_streams(handle)


@pytest.mark.spec("SWARM-4", "SWARM-5")
def test_dialling_at_once_ends_with_one_connection() -> None:
    for seed in range(10):
        a, b, world = two_nodes(seed=seed, delay=0.02)
        a.dial(b)
        b.dial(a)
        world.run_until(lambda a=a, b=b: bool(a.of(DialSucceeded) and b.of(DialSucceeded)), 5)
        world.run_for(40)
        assert a.connections_to(b) == b.connections_to(a) == 1, f"seed {seed}"
        connection = a.swarm.facts.best(b.peer_id)
        assert connection is not None
        b.serve(ECHO, echo)
        stream = a.open(connection, ECHO)
        a.do(stream.write, b"x")
        world.run_until(lambda a=a, stream=stream: a.do(stream.read, 9) == b"x", 5)


@pytest.mark.spec("SWARM-5")
@pytest.mark.parametrize("seed", range(4))
def test_of_two_connections_that_crossed_the_losing_one_is_ended_by_who_began_it(
    seed: int,
) -> None:
    """The other side may have seen the two the other way round: then both would be gone."""
    a, b, world = two_nodes(seed=seed, delay=0.02)
    a.dial(b)
    b.dial(a)
    world.run_for(5)
    began, took = sorted((a, b), key=lambda node: node.peer_id.multihash, reverse=True)

    [ended_here], [ended_there] = began.of(ConnectionClosed), took.of(ConnectionClosed)
    assert isinstance(ended_here.reason, ClosedLocally)
    assert isinstance(ended_there.reason, ClosedByPeer)
    assert ended_there.reason.code == ErrorCode.SUPPLANTED


@pytest.mark.spec("SWARM-3")
def test_a_connected_peer_is_not_dialled_again() -> None:
    a, b, _ = two_nodes()
    first = a.connect(b)
    assert a.connect(b) == first
    assert a.connections_to(b) == 1


@pytest.mark.spec("SWARM-4")
def test_a_peer_that_came_back_replaces_its_old_connection() -> None:
    a, b, world = two_nodes()
    a.connect(b)
    world.run_for(20)
    a.host.detach()
    for socket in list(a.sockets):
        a.host.close(socket)
    a.events.clear()
    a.start()
    a.connect(b)
    world.run_for(40)
    assert b.connections_to(a) == 1
    assert len(b.of(ConnectionClosed)) == 1
    assert not b.of(ConnectionClosed)[0].is_last


@pytest.mark.spec("TRANSPORT-9", "SWARM-9")
def test_the_wrong_peer_at_an_address_is_reported_two_seconds_after_it_answered() -> None:
    """Nobody could say more of the right one: there is no other peer to ask."""
    a, b, world = two_nodes()
    dial_id = a.do(a.swarm.dial, SimNodeId.other, (b.address(),), world.now)
    world.run_until(lambda: bool(a.of(DialFailed)), 2.5)
    failure = a.of(DialFailed)[0]
    assert failure.dial_id == dial_id
    (address, reason), *_ = failure.attempts
    assert address == b.address()
    assert isinstance(reason, PeerIdMismatch)


class SimNodeId:
    """A peer that is not there."""

    other = SimNode(wire(99).a).peer_id


@pytest.mark.spec("SWARM-1", "SWARM-2")
def test_of_several_addresses_the_one_that_works_wins_and_all_failures_are_told() -> None:
    network = pair(3)
    a, b = SimNode(network.a), SimNode(network.b)
    dead = [SimNode(network.public[0]).address(), b.address("1.2.3.4")]
    start = network.world.now
    a.connect(b, *dead, b.address())
    assert network.world.now - start < 1.0
    a.do(a.swarm.dial, SimNodeId.other, dead, network.world.now)
    network.world.run_until(lambda: bool(a.of(DialFailed)), 20)
    tried = {str(address) for address, _ in a.of(DialFailed)[0].attempts}
    assert tried >= {str(d) for d in dead}


@pytest.mark.spec("SWARM-9")
def test_a_peer_that_nobody_knows_is_looked_for_in_vain() -> None:
    a, b, world = two_nodes()
    a.connect(b)
    a.do(a.swarm.dial, SimNodeId.other, (), world.now)
    world.run_until(lambda: bool(a.of(DialFailed)), 10)
    reasons = " ".join(str(reason) for _, reason in a.of(DialFailed)[0].attempts)
    assert "does not know it" in reasons


def test_dialling_oneself_is_refused_at_once() -> None:
    a, b, world = two_nodes()
    with pytest.raises(DialError):
        a.do(a.swarm.dial, a.peer_id, (b.address(),), world.now)


@pytest.mark.spec("PING-6")
@pytest.mark.parametrize("pause", [30.0, 46.0, 59.99, 60.0, 75.0])
def test_pings_far_apart_all_come_back(pause: float) -> None:
    a, b, world = two_nodes(delay=0.02)
    connection = a.connect(b)
    for _ in range(4):
        a.do(a.swarm.ping, connection, world.now)
        world.run_for(pause)
    assert len(a.of(PongReceived)) == 4
    assert not a.of(PingFailed)


def test_a_dead_peer_fails_the_ping() -> None:
    a, b, world = two_nodes()
    connection = a.connect(b)
    world.run_for(1)
    b.host.interfaces[0].is_up = False
    a.do(a.swarm.ping, connection, world.now)
    world.run_until(lambda: bool(a.of(PingFailed)), 12)


def observers(
    seed: int, count: int, behaviour: NatBehaviour
) -> tuple[SimNode, list[SimNode], World]:
    world = World(seed)
    core = internet(world)
    nodes = [SimNode(core.host(f"s{i}")) for i in range(count)]
    site = core.site("home", SiteParams(nat=behaviour))
    return SimNode(site.hosts[0]), nodes, world


def test_observers_are_counted_until_the_address_is_confirmed() -> None:
    a, peers, world = observers(1, 5, home())
    progress = []
    for peer in peers:
        a.connect(peer)
        world.run_for(1)
        observed = a.of(AddressObserved)[-1]
        progress.append(observed.report.addresses[0].progress)
    assert progress[:3] == [f"{n} of 4 observers so far" for n in (1, 2, 3)]
    assert progress[4] == "confirmed by 5 observers"
    report = a.of(AddressObserved)[-1].report
    assert report.mapping is MappingKind.ENDPOINT_INDEPENDENT
    assert len({o.address for o in a.of(AddressObserved)}) == 1


def test_a_symmetric_nat_is_recognised() -> None:
    a, peers, world = observers(2, 5, corporate())
    for peer in peers:
        a.connect(peer)
    world.run_for(2)
    assert a.of(AddressObserved)[-1].report.mapping is MappingKind.ENDPOINT_DEPENDENT


def test_a_node_behind_a_nat_can_be_called_back_over_its_connection() -> None:
    network = nat_pair(1, home(), full_cone())
    a, s = SimNode(network.a), SimNode(network.public[0])
    a.serve(ECHO, echo)
    a.connect(s)
    network.world.run_for(1)
    connection = s.swarm.facts.best(a.peer_id)
    assert connection is not None
    stream = s.open(connection, ECHO)
    s.do(stream.write, b"hello")
    network.world.run_until(lambda: s.do(stream.read, 100) == b"hello", 5)


def bulk(a: SimNode, b: SimNode, connection: int, size: int, world: World) -> bytearray:
    """Sends from a to b; `world` is run until everything has arrived."""
    b.serve(BULK)
    data = world.rng("data").randbytes(size)
    stream = a.open(connection, BULK)
    sent = 0

    def step() -> bool:
        nonlocal sent
        if sent < size:
            sent += a.do(stream.write, data[sent : sent + 65536])
            if sent == size:
                a.do(stream.finish)
        return any(len(got) == size for got in b.received.values()) and bool(b.ended)

    world.run_until(step, 60)
    assert data in [bytes(got) for got in b.received.values()]
    return bytearray(data)


def test_a_transfer_survives_a_reboot_of_the_nat() -> None:
    network = nat_pair(5, home(), full_cone())
    a, s = SimNode(network.a), SimNode(network.public[0])
    connection = a.connect(s)
    network.world.run_for(1)
    assert network.site_a.nat is not None
    network.world.after(0.3, network.site_a.nat.reboot)
    bulk(a, s, connection, 3_000_000, network.world)


def test_a_transfer_goes_on_when_the_machine_changes_its_network() -> None:
    """A laptop leaves one network and joins another: the old address is gone."""
    network = wire(8, LinkParams(delay=0.02))
    a, b = SimNode(network.a), SimNode(network.b)
    connection = a.connect(b)
    network.world.run_for(1)
    interface = network.a.interfaces[0]
    old = next(ip for ip in interface.addresses if ":" not in ip)
    new = old.rsplit(".", 1)[0] + ".77"

    def roam() -> None:
        interface.remove_address(old)
        interface.add_address(f"{new}/24")
        a.do(a.swarm.handle_interfaces_changed, tuple(interface.addresses), network.world.now)

    network.world.after(0.2, roam)
    bulk(a, b, connection, 3_000_000, network.world)
    assert b.swarm._transports.connections[1].route.remote.ip == new


def test_a_transfer_over_a_bad_line_is_byte_exact() -> None:
    a, b, world = two_nodes(seed=4, delay=0.02, loss=0.02, jitter=0.005, duplication=0.02)
    bulk(a, b, a.connect(b), 400_000, world)


def test_after_a_suspend_the_new_address_is_known_within_a_round_trip() -> None:
    network = nat_pair(7, corporate(), full_cone())
    a, s = SimNode(network.a), SimNode(network.public[0])
    a.connect(s)
    network.world.run_for(1)
    assert network.site_a.nat is not None
    network.site_a.nat.reboot()
    a.do(a.swarm.revalidate, network.world.now)
    network.world.run_for(0.5)
    assert s.of(PathChanged)[-1].reason == "the peer's address changed"
    assert len({o.address for o in a.of(AddressObserved)}) == 2


@pytest.mark.spec("IDENTIFY-16")
def test_the_evidence_of_a_connection_lasts_as_long_as_the_connection() -> None:
    network = nat_pair(7, corporate(), full_cone())
    a, s = SimNode(network.a), SimNode(network.public[0])
    connection = a.connect(s)
    network.world.run_for(2.5 * OBSERVATION_LIFETIME)
    assert connection in a.swarm._transports.connections
    assert not a.of(ConnectionClosed)
    (report,) = a.swarm.facts.observed(network.world.now)
    assert [observer for observer, _ in report.evidence] == [s.peer_id]


def test_the_users_of_a_lost_connection_find_out_why() -> None:
    config = TransportConfig(idle_timeout=5.0, keep_alive=2.0)
    network = wire(1)
    a, b = SimNode(network.a, transport=config), SimNode(network.b, transport=config)
    b.serve(ECHO, echo)
    stream = a.open(a.connect(b), ECHO)
    network.world.run_for(1)
    network.b.interfaces[0].is_up = False
    network.world.run_until(lambda: bool(a.of(ConnectionClosed)), 20)
    with pytest.raises(ConnectionLost):
        stream.read(10)
    with pytest.raises(ConnectionLost):
        stream.write(b"x")


def test_closing_a_node_tells_its_peers() -> None:
    a, b, world = two_nodes()
    a.connect(b)
    world.run_for(1)
    a.do(a.swarm.close, world.now)
    world.run_for(1)
    assert b.of(ConnectionClosed)[0].is_last
    assert "going away" in str(b.of(ConnectionClosed)[0].reason)


SCENARIO = """
from tests.simulation.test_swarm import scenario_digest
print(scenario_digest())
"""


def scenario_digest() -> str:
    network = pair(11, PairParams(a=SiteParams(nat=home()), public_hosts=3))
    a = SimNode(network.a)
    peers = [SimNode(host) for host in network.public]
    for peer in peers:
        a.connect(peer)
        bulk(a, peer, a.swarm.facts.best(peer.peer_id) or 0, 50_000, network.world)
    network.world.run_for(30)
    return network.world.trace.digest()


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCENARIO],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_an_address_without_a_socket_for_it_says_so() -> None:
    a = SimNode(pair(1, PairParams()).a)  # without IPv6
    address = noise_udp_multiaddr(SocketAddr("2001:4860::1", 1))
    a.do(a.swarm.dial, None, (address,), a.host.now)
    assert "no socket" in str(a.of(DialFailed)[0].attempts[0][1])


def test_who_closes_a_connection_is_told_at_once() -> None:
    a, b, world = two_nodes()
    connection = a.connect(b)
    a.do(a.swarm.disconnect, connection, world.now)
    assert [e.connection for e in a.of(ConnectionClosed)] == [connection]


@pytest.mark.spec("SWARM-5")
def test_a_supplanted_connection_stays_while_an_application_uses_it() -> None:
    a, b, world = two_nodes()
    b.serve(ECHO, echo)
    old = a.connect(b)
    stream = a.open(old, ECHO)
    a.do(stream.write, b"first")
    world.run_for(20)
    assert stream.read(100) == b"first"
    a.do(a.swarm.dial, None, (b.address(),), world.now)
    world.run_for(1)
    assert a.swarm.facts.best(b.peer_id) != old
    world.run_for(100)
    a.do(stream.write, b"second")
    world.run_for(1)
    assert stream.read(100) == b"second"
    a.do(a.swarm._streams.reset, stream, 0)
    world.run_for(61)
    assert a.connections_to(b) == 1
