"""p2pnode/swarm/swarm.py"""

from collections.abc import Callable

import pytest

from p2pnode.clock import Instant
from p2pnode.machine import ConnectionHandle, Received, SocketAddr
from p2pnode.netsim.topology import wire
from p2pnode.resources.refusal import Refusal, Resource, ScopeKind
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import ConnectionClosed, ResourceRefused
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.swarm import REFUSAL_INTERVAL
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.noise_udp.packet import DATA
from tests.support.echo import echo

PROTOCOL = "/test/1"
QUIET = 2.0
"""seconds from a drain to the next timer, at least"""


class Two:
    """Two nodes on a wire, connected, and idle for so long that timers are far apart."""

    def __init__(self, config: SwarmConfig | None = None) -> None:
        net = wire(1)
        self.world = net.world
        self.a, self.b = SimNode(net.a, config=config), SimNode(net.b)
        self.b.serve(PROTOCOL, echo)
        self.connection = ConnectionHandle(self.a.connect(self.b))
        self.world.run_for(60.0)
        self.world.run_until(lambda: self._pause() > QUIET, 60.0)
        self.told: list[tuple[str, Instant]] = []
        """What a service of `a` is told, with the time that it is told."""
        service = self.a.swarm._services.ping
        on_disconnected, on_progress = service.on_disconnected, service.on_progress

        def note_disconnected(peer: Peer, now: Instant) -> None:
            self.told.append(("disconnected", now))
            on_disconnected(peer, now)

        def note_progress(connection, machine, now: Instant) -> None:
            self.told.append(("progress", now))
            on_progress(connection, machine, now)

        service.on_disconnected = note_disconnected  # type: ignore[method-assign]
        service.on_progress = note_progress  # type: ignore[method-assign]

    def between_timers(self) -> Instant:
        """Returns a time at which nothing is due, a while after the last drain."""
        return self.world.now + self._pause() * 0.9

    def _pause(self) -> float:
        deadline = self.a.swarm.poll_timeout()
        assert deadline is not None
        return deadline.at - self.world.now


COMMANDS: list[tuple[str, Callable[[Two, Instant], object]]] = [
    ("disconnected", lambda two, now: two.a.swarm.disconnect(two.connection, now)),
    ("disconnected", lambda two, now: two.a.swarm.close(now)),
    ("progress", lambda two, now: two.a.swarm.ping(two.connection, now)),
]


@pytest.mark.spec("SWARM-22")
@pytest.mark.parametrize(("hook", "command"), COMMANDS)
def test_what_a_command_causes_is_told_at_its_time(
    hook: str, command: Callable[[Two, Instant], object]
) -> None:
    two = Two()
    now = two.between_timers()
    command(two, now)
    assert two.told == [(hook, now)]
    two.a.swarm.poll_events()
    two.a.swarm.poll_transmits(now)
    assert two.told == [(hook, now)]


def test_events_are_handed_over_and_nothing_else_is_done() -> None:
    two = Two()
    stream = two.a.open(two.connection, PROTOCOL)
    now = two.between_timers()
    connection = two.a.swarm._transports.command(two.connection)
    assert connection is not None
    connection.close(0, "by who holds it", now)
    assert two.a.swarm.poll_events() == []
    assert two.told == []
    assert two.a.swarm.poll_transmits(now)
    assert two.told == [("disconnected", now)]
    events = two.a.swarm.poll_events()
    assert any(isinstance(event, ConnectionClosed) for event in events)
    assert stream.connection == two.connection


@pytest.mark.spec("SWARM-22")
def test_what_is_done_to_a_stream_is_settled_by_the_drain_that_follows() -> None:
    two = Two()
    stream = two.a.open(two.connection, PROTOCOL)
    two.world.run_for(5.0)
    now = two.between_timers()
    stream.write(b"hello")
    stream.finish()
    assert two.told == []
    assert two.a.swarm.poll_transmits(now)
    assert two.told == []


@pytest.mark.spec("SWARM-22")
def test_time_that_goes_back_is_a_fault() -> None:
    two = Two()
    now = two.world.now + 1.0
    two.a.swarm.ping(two.connection, now)
    with pytest.raises(AssertionError, match="time went back"):
        two.a.swarm.identify(two.connection, now - 0.5)


@pytest.mark.spec("RESOURCES-7")
def test_what_was_refused_soon_after_a_word_of_it_is_told_when_its_time_has_come() -> None:
    two = Two()
    refusals = two.a.swarm._transports.account.refusals
    refusal = Refusal(Resource.CONNECTIONS, ScopeKind.NETWORK, "192.0.2.1", 256)
    refusals.note(refusal)
    two.a.do(two.a.swarm.ping, two.connection, two.world.now)
    first = two.world.now
    refusals.note(refusal)
    two.a.do(two.a.swarm.ping, two.connection, two.world.now)
    two.world.run_until(lambda: len(two.a.of(ResourceRefused)) > 1, REFUSAL_INTERVAL + 1)
    assert two.a.of(ResourceRefused) == [ResourceRefused(refusal, 1), ResourceRefused(refusal, 2)]
    assert two.world.now == first + REFUSAL_INTERVAL


@pytest.mark.spec("SWARM-23")
def test_a_relay_that_is_drained_says_so_at_once_and_ends_in_time() -> None:
    two = Two(SwarmConfig(relay_mode=RelayMode.ALWAYS))
    relay = two.a.swarm
    hop = tuple(relay._services.relay_server.inbound)
    assert set(hop) <= set(relay.facts.protocols())
    now = two.between_timers()
    relay.drain_relay(1.0, now)
    assert not set(hop) & set(relay.facts.protocols())
    assert not set(hop) & set(relay._state.description.protocols)
    relay.check()


@pytest.mark.spec("TRANSPORT-38")
def test_what_strangers_provoke_at_a_socket_for_dial_backs_does_not_pile_up() -> None:
    """Also where the node has never dialled anybody back."""
    network = wire(1)
    swarm, now = SimNode(network.a).swarm, network.world.now
    probe = next(s for s, local in swarm._dial_backs.sockets.items() if not local.is_ipv6)
    stray = bytes([DATA]) + bytes(60)
    answers = []
    for number in range(5):
        stranger = SocketAddr(f"203.0.{number}.1", 4001)
        received = Received(probe, None, stranger, 0, len(stray), stray)
        swarm.handle_received([received], now)
        answers += [t.remote for t in swarm.poll_transmits(now) if t.socket == probe]

    assert answers == [SocketAddr(f"203.0.{number}.1", 4001) for number in range(5)]
