"""Dial-backs from sockets of their own, over an instant wire: swarm/dial_back_side.py."""

from random import Random

import pytest

from p2pnode.entropy import Entropy
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Received, SocketAddr, SocketId, StreamMachine, Transmit
from p2pnode.protocols.ping import PROTOCOL_ID
from p2pnode.protocols.ping.dialogue import PingRequester
from p2pnode.swarm.dial_back_side import (
    FIRST_HANDLE,
    MAX_CONNECTIONS,
    DialBackSide,
    DialledBack,
)
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import DialBack, OpenStream, SendDatagram, Service
from p2pnode.transports.events import Connected, TransportEvent
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.noise_udp.maker import NoiseUdp
from p2pnode.transports.noise_udp.packet import STATELESS_RESET
from p2pnode.transports.registry import Makers
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.identities import peer_id
from tests.support.pair import UNIX_EPOCH, make_endpoint

OURS, THEIRS = SocketAddr("7.0.0.1", 5001), SocketAddr("8.0.0.1", 4001)
SOCKET = SocketId(2)


class Noted(Service):
    def __init__(self) -> None:
        super().__init__()
        self.progress: list[tuple[int, StreamMachine]] = []

    def on_progress(self, connection: int, machine: StreamMachine, now: float) -> None:
        self.progress.append((connection, machine))

    def on_stream_failed(
        self, connection: int, machine: StreamMachine, reason: str, now: float
    ) -> None:
        self.progress.append((connection, machine))


def makers(entropy: Entropy) -> Makers:
    """Returns those of a node that speaks noise-udp alone."""
    return Makers((NoiseUdp(TransportConfig(), bytes(32), entropy, Random(1)),))


class World:
    """Dial-backs, and an ordinary node at THEIRS."""

    def __init__(self) -> None:
        self.now = 0.0
        self.side = DialBackSide(
            makers(Random("prober").randbytes),
            ServiceCalls(),
            entropy=Random("prober").randbytes,
            now=0.0,
            unix_now=UNIX_EPOCH,
        )
        self.side.add_socket(SOCKET, SocketAddr("0.0.0.0", 5001))
        self.node, self.node_id = make_endpoint("node", config=TransportConfig(), now=0.0, seed=1)
        self.events: list[TransportEvent] = []
        self.results: list[DialledBack] = []

    def run(self) -> None:
        for _ in range(30):
            out = self.side.poll_transmits(self.now)
            assert all(t.socket == SOCKET for t in out)
            deliver(self.node, out, OURS, self.now)
            back = self.node.poll_transmits(self.now)
            self.side.handle_received(arrived(back, THEIRS), self.now)
            self.events += self.node.poll_events()
            self.results += self.side.poll_results(self.now)

    def dial_back(self, ticket: int = 7, peer: PeerId | None = None, timeout: float = 5.0) -> None:
        command = DialBack(ticket, peer or self.node_id, THEIRS, NOISE_UDP, timeout)
        self.side.dial_back(command, self.now)
        self.run()

    def connected(self) -> list[Connected]:
        return [e.event for e in self.events if isinstance(e.event, Connected)]


def arrived(sent: list[Transmit], source: SocketAddr, socket: SocketId = SOCKET) -> list[Received]:
    return [Received(socket, None, source, 0, t.segment_size, bytes(t.buffer)) for t in sent]


def deliver(endpoint: Endpoint, transmits: list[Transmit], source: SocketAddr, now: float) -> None:
    endpoint.handle_received(arrived(transmits, source, SocketId(1)), now)


@pytest.mark.spec("SWARM-14", "SWARM-15", "TRANSPORTS-7")
def test_a_dial_back_comes_from_nobody_known_and_allows_no_streams() -> None:
    world = World()
    world.dial_back()
    ((ticket, connection, _),) = world.results
    assert ticket == 7
    assert connection is not None
    assert connection >= FIRST_HANDLE
    (fact,) = world.connected()
    assert not fact.allows_streams
    assert fact.route.remote == OURS
    assert world.side._tickets == {}


@pytest.mark.spec("SWARM-33")
def test_a_dial_back_is_made_by_the_transport_of_the_address_or_not_at_all() -> None:
    world = World()
    world.side.dial_back(DialBack(3, world.node_id, THEIRS, TCP, 5.0), 0.0)
    world.run()

    assert world.results == [DialledBack(3, None, "this node does not speak tcp")]
    assert world.connected() == []


@pytest.mark.spec("SWARM-15")
def test_two_nodes_dial_back_under_two_identities() -> None:
    seen = []
    for name in "ab":
        world = World()
        world.side = DialBackSide(
            makers(Random(name).randbytes),
            ServiceCalls(),
            entropy=Random(name).randbytes,
            now=0.0,
            unix_now=UNIX_EPOCH,
        )
        world.side.add_socket(SOCKET, SocketAddr("0.0.0.0", 5001))
        world.dial_back()
        seen.append(world.connected()[0].peer_id)
    assert seen[0] != seen[1]


def test_a_stream_runs_on_a_dial_back_and_its_end_is_told() -> None:
    world = World()
    world.dial_back()
    connection = world.results[0].connection
    assert connection is not None
    service = Noted()
    machine = PingRequester(Random(1).randbytes)
    world.side.run(service, OpenStream(connection, PROTOCOL_ID, machine), world.now)
    world.run()
    assert len(world.node.connections) == 1
    service.progress.clear()
    world.side.disconnect(connection, "done", world.now)
    world.run()
    world.now = 10.0
    world.side.handle_timeout(world.now)
    assert service.progress == [(connection, machine)]
    assert machine.is_done
    world.side.disconnect(12345, "nobody", world.now)


def test_a_dial_back_that_nobody_answers_fails_in_time() -> None:
    world = World()
    world.side.dial_back(DialBack(3, world.node_id, SocketAddr("9.9.9.9", 1), NOISE_UDP, 5.0), 0.0)
    assert world.side.poll_transmits(0.0)
    while not world.results:
        timer = world.side.poll_timeout()
        assert timer is not None
        assert timer.at <= 5.5
        world.now = timer.at
        world.side.handle_timeout(timer.at)
        world.side.poll_transmits(world.now)
        world.results += world.side.poll_results(world.now)
    (result,) = world.results
    assert (result.ticket, result.connection) == (3, None)
    assert result.reason
    assert world.side._tickets == {}


def test_without_a_socket_of_its_kind_a_dial_back_fails_and_a_datagram_is_not_sent() -> None:
    world = World()
    target = SocketAddr("2001:db8::1", 1)
    world.side.dial_back(DialBack(1, world.node_id, target, NOISE_UDP, 5.0), 0.0)
    world.side.send(SendDatagram(target, b"probe"))
    world.run()
    assert world.results == [DialledBack(1, None, "no socket of this node reaches that address")]


@pytest.mark.spec("SWARM-15")
def test_a_datagram_leaves_from_the_socket_of_its_own() -> None:
    world = World()
    world.side.send(SendDatagram(THEIRS, b"probe"))
    (sent,) = world.side.poll_transmits(0.0)
    assert (sent.socket, sent.remote, bytes(sent.buffer)) == (SOCKET, THEIRS, b"probe")
    assert world.side.poll_transmits(0.0) == []


@pytest.mark.spec("SWARM-15")
def test_strangers_get_no_connection_on_the_second_port() -> None:
    """They would take the room of dial-backs, or learn whose port it is."""
    world = World()
    for number in range(MAX_CONNECTIONS + 1):
        stranger, _ = make_endpoint(f"s{number}", config=TransportConfig(), now=0.0, seed=2)
        source = SocketAddr("6.0.0.1", 1000 + number)
        stranger.dial(Route(SocketId(1), None, OURS), None, 0.0)
        for _ in range(4):
            world.side.handle_received(arrived(stranger.poll_transmits(0.0), source), 0.0)
            back = [t for t in world.side.poll_transmits(0.0) if t.remote == source]
            assert back == []
            deliver(stranger, back, OURS, 0.0)
    assert len(world.side._transports.connections) == 0
    world.dial_back()
    assert world.results[0].connection is not None


def test_the_number_of_dial_backs_is_bounded() -> None:
    world = World()
    for ticket in range(MAX_CONNECTIONS + 2):
        world.side.dial_back(
            DialBack(ticket, world.node_id, SocketAddr("9.9.9.9", 1), NOISE_UDP, 5.0), 0.0
        )
    refused = world.side.poll_results(0.0)
    assert [r.ticket for r in refused] == [MAX_CONNECTIONS, MAX_CONNECTIONS + 1]


def test_it_is_active_while_a_dial_back_lasts_and_not_before_or_after() -> None:
    world = World()
    before = world.side.is_active
    world.dial_back(peer=peer_id("somebody else"), timeout=2.0)
    during = world.side.is_active
    world.now = 60.0
    world.side.handle_timeout(world.now)
    world.run()

    assert (before, during, world.side.is_active) == (False, True, False)
    assert world.side.poll_timeout() is None


@pytest.mark.spec("TRANSPORT-38")
def test_stray_data_at_a_socket_that_was_never_used_is_answered_and_leaves_nothing() -> None:
    world = World()
    stray = b"\x80" + bytes(60)
    received = Received(SOCKET, None, THEIRS, 0, len(stray), stray)
    world.side.handle_received([received], world.now)
    was_active = world.side.is_active
    (answer,) = world.side.poll_transmits(world.now)
    world.side.poll_results(world.now)

    assert was_active
    assert answer.buffer[0] == STATELESS_RESET
    assert not world.side.is_active
