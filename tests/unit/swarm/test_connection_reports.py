"""What identify says of our address, by connection: p2pnode/swarm/connection_reports.py."""

from types import SimpleNamespace
from typing import Any

import pytest

from p2pnode.clock import UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.protocols.identify import Disposition, IdentifyInfo
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.connection_reports import ConnectionReports
from p2pnode.swarm.events import AddressObserved
from p2pnode.swarm.observations import Observations
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.route import ANY_PORT, Route
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP
from tests.support.identities import peer_id

HANDLE, SOCKET, LISTENER = ConnectionHandle(7), SocketId(1), SocketId(2)
THERE = SocketAddr("9.0.0.1", 4001)


class World:
    """A node with one connection."""

    def __init__(self, transport: TransportName, socket: SocketId, *, moves: bool = False) -> None:
        self.state = SwarmState(
            PrivateKey(bytes(32)),
            peer_id("us"),
            SwarmConfig(),
            (NOISE_UDP, QUIC_V1, TCP),
            now=0.0,
            unix_now=UnixTime(0.0),
        )
        self.told: list[Any] = []
        self.peer = Peer(HANDLE, peer_id("them"), Route(socket, None, THERE), True, transport)
        self.state.peers[HANDLE] = self.peer
        paths = object() if moves else None
        nothing: Any = None
        transports: Any = SimpleNamespace(connections={HANDLE: SimpleNamespace(paths=paths)})
        calls: Any = SimpleNamespace(observed=lambda peer, now: None)
        self.reports = ConnectionReports(
            transports,
            self.state,
            nothing,
            nothing,
            nothing,
            Observations(self.state.observed, 0.0),
            nothing,
            calls,
            self.told.append,
        )

    def say(self, observed: str | None) -> None:
        address = None if observed is None else parse_multiaddr(observed)
        info = IdentifyInfo(self.peer.peer_id, observed_addr=address)
        self.reports.on_identified(self.peer, info, 1.0)

    def seen(self, socket: SocketId) -> list[SocketAddr]:
        return [each.address for each in self.state.observed.report(socket, 1.0).addresses]


@pytest.mark.spec("IDENTIFY-18")
@pytest.mark.parametrize(
    ("transport", "socket", "said"),
    [
        (TCP, LISTENER, "/ip4/7.0.0.1/tcp/4001"),
        (QUIC_V1, SOCKET, "/ip4/7.0.0.1/udp/4001/quic-v1"),
    ],
)
def test_what_identify_says_counts_where_the_transport_says_nothing(
    transport: TransportName, socket: SocketId, said: str
) -> None:
    world = World(transport, socket)
    world.say(said)
    assert world.seen(socket) == [SocketAddr("7.0.0.1", 4001)]
    (told,) = world.told
    assert isinstance(told, AddressObserved)
    assert (told.disposition, told.transport) == (Disposition.COUNTED, transport)
    world.say(said)
    assert world.seen(socket) == [SocketAddr("7.0.0.1", 4001)]


@pytest.mark.spec("IDENTIFY-18")
@pytest.mark.parametrize(
    "said",
    [
        None,
        "/ip4/7.0.0.1/udp/4001/quic-v1",
        "/dns4/example.com/tcp/4001",
        "/ip4/7.0.0.1/tcp/4001/ws",
        "/p2p-circuit",
    ],
)
def test_what_is_no_address_of_that_connection_is_no_observation(said: str | None) -> None:
    world = World(TCP, LISTENER)
    world.say(said)
    assert world.seen(LISTENER) == world.told == []


@pytest.mark.spec("IDENTIFY-18")
def test_who_is_told_by_the_transport_does_not_ask_identify() -> None:
    world = World(NOISE_UDP, SOCKET, moves=True)
    world.say("/ip4/7.0.0.1/udp/4001/noise")
    assert world.seen(SOCKET) == world.told == []


@pytest.mark.spec("IDENTIFY-18")
def test_a_link_from_just_any_port_says_nothing_of_the_listener() -> None:
    world = World(TCP, ANY_PORT)
    world.say("/ip4/7.0.0.1/tcp/50000")
    assert world.seen(ANY_PORT) == world.told == []


@pytest.mark.spec("IDENTIFY-9", "IDENTIFY-18")
def test_who_sees_a_relay_does_not_see_us() -> None:
    world = World(TCP, SocketId(-1))
    world.say("/ip4/9.0.0.1/tcp/4001")
    (told,) = world.told
    assert told.disposition is Disposition.RELAYED
    assert world.seen(SocketId(-1)) == []


@pytest.mark.spec("IDENTIFY-18")
def test_what_is_said_of_a_connection_that_is_gone_is_nothing() -> None:
    world = World(TCP, LISTENER)
    del world.state.peers[HANDLE]
    world.say("/ip4/7.0.0.1/tcp/4001")
    assert world.told == []
