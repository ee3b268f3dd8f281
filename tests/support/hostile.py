"""Hostile peers made of real parts, and bystanders who want nothing of them.

A `Hostile` is a whole node that says what its test wants on streams of its own, answers built-in
protocols itself, lies about its addresses, or, as a relay, does to packets what it likes.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, Transmit
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.nat_presets import home
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.part import Port, connect
from p2pnode.netsim.topology import Realm, SiteParams, internet
from p2pnode.netsim.world import World
from p2pnode.protocols.identify import IdentifyMessage
from p2pnode.protocols.relay import CIRCUIT_TYPE, HEADER_SIZE
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.noise_udp.frame import ObservedAddress
from p2pnode.transports.noise_udp.packet import HandshakeType
from p2pnode.transports.noise_udp.token import TokenIssuer
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import Multiaddr
from tests.support.addresses import noise_udp_multiaddr
from tests.support.pair import endpoint_of

NETWORK: Final = "99.0.0.0/8"
"""The bystanders'; routable, and of nobody else in these worlds."""
RELAY: Final = SwarmConfig(relay_mode=RelayMode.ALWAYS)
Tamper = Callable[[list[Transmit]], list[Transmit]]


def bystander(ip: str = "99.1.1.1", port: int = 53) -> Multiaddr:
    """Returns the address of somebody who has nothing to do with it."""
    return noise_udp_multiaddr(SocketAddr(ip, port))


class Bystanders:
    """All addresses of a network: nobody answers there; what honest nodes send there is kept."""

    def __init__(self, net: Realm, network: str = NETWORK) -> None:
        self.name = "bystanders"
        self.trace = net.world.trace
        self.culprits: dict[str, None] = {}
        """IPs of hostile nodes, which could have sent their packets there themselves"""
        self.arrivals: list[tuple[Instant, Packet]] = []
        net.world.add(self)
        connect(net.router.port(network), Port(self))

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        if packet.src.ip not in self.culprits:
            self.arrivals.append((now, packet))

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def by_ip(self) -> Counter[str]:
        """How many packets each IP got."""
        return Counter(packet.dst.ip for _, packet in self.arrivals)

    @property
    def by_address(self) -> Counter[SocketAddr]:
        """How many packets each address got."""
        return Counter(packet.dst for _, packet in self.arrivals)

    @property
    def size(self) -> int:
        """Bytes of all packets, without headers of UDP and IP."""
        return sum(len(packet.payload) for _, packet in self.arrivals)

    @property
    def largest(self) -> int:
        """Bytes of the largest packet; 0 where there was none."""
        return max((len(packet.payload) for _, packet in self.arrivals), default=0)

    @property
    def initials(self) -> int:
        """How many first packets of handshakes came."""
        return sum(packet.payload[0] == HandshakeType.INITIAL for _, packet in self.arrivals)

    def most_within(self, seconds: float) -> int:
        """Returns the most packets that came in any span of so many seconds."""
        times = [at for at, _ in self.arrivals]
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


class Hostile(SimNode):
    """A node whose test speaks for it where it wants to."""

    def _read(self, stream: SwarmStream) -> None:
        with contextlib.suppress(P2PNodeError):  # who is lied to resets streams
            super()._read(stream)

    def say(self, connection: int, protocol: str, *messages: bytes) -> SwarmStream:
        """Opens a stream and says framed messages, whatever the other side answers."""
        stream = self.open(connection, protocol)
        self.do(stream.write, b"".join(map(encode_frame, messages)))
        return stream

    def add(self, stream: SwarmStream, *messages: bytes) -> None:
        """Says more on a stream."""
        data = b"".join(map(encode_frame, messages))
        assert self.do(stream.write, data) == len(data)

    def heard(self, stream: SwarmStream) -> bytes:
        """Returns what came on a stream of ours since the last call."""
        return self.do(stream.read, 1 << 20)

    def take_over(self, protocol: str, handler: Callable[[SwarmStream, bytes, bool], None]) -> None:
        """Answers a built-in protocol instead of the node."""
        self.swarm._streams._registered.pop(protocol, None)
        self.serve(protocol, handler)

    def claim(self, *addrs: Multiaddr, protocols: Iterable[str] = ()) -> None:
        """Says in identify to be at these addresses, and to speak more protocols."""
        service = self.swarm._services.identify
        describe = service._describe

        def lie(peer: Peer, now: Instant) -> IdentifyMessage:
            honest = describe(peer, now)
            told = (*honest.protocols, *protocols)
            return replace(honest, listen_addrs=addrs, protocols=told, signed_peer_record=None)

        service._describe = lie

    def observe(self, connection: int, address: SocketAddr) -> None:
        """Tells the peer that it is seen somewhere else."""
        found = self.swarm._transports.command(connection)
        assert found is not None
        path = found.paths.active
        path.observed_sequence += 1
        frame = ObservedAddress(path.path_id, path.observed_sequence, address)
        found.paths._control.push(frame.encode())
        self.host.drain()

    def tamper(self, change: Tamper) -> None:
        """As a relay: does this to the circuit packets that it would forward."""
        server = self.swarm._services.relay_server
        forward = server.poll_transmits

        def lie(now: Instant) -> list[Transmit]:
            return change([one for transmit in forward(now) for one in singles(transmit)])

        server.poll_transmits = lie  # type: ignore[method-assign]


@dataclass
class Town:
    """A node behind a NAT with a reservation at an honest relay, and bystanders."""

    seed: int = 1
    nat: NatBehaviour = field(default_factory=home)
    relay_config: SwarmConfig = RELAY

    def __post_init__(self) -> None:
        self.world = World(self.seed)
        self.net = internet(self.world)
        self.bystanders = Bystanders(self.net)
        self.relay = Hostile(self.net.host("relay"), config=self.relay_config)
        site = self.net.site("home", SiteParams(nat=self.nat))
        self.node = SimNode(site.hosts[0])
        for node in (self.relay, self.node):
            give_secret(node)
        self.node.dial(self.relay)
        client = self.node.swarm._services.relay_client
        self.world.run_until(lambda: bool(client.addresses()), 10)
        self.world.run_for(2)

    def hostile(
        self, name: str = "mallory", *, identity: PrivateKey | None = None, port: int = 4001
    ) -> Hostile:
        """Adds a hostile node with a public address of its own, connected to the relay."""
        node = Hostile(self.net.host(name), identity=identity, port=port)
        give_secret(node)
        self.bystanders.culprits[node.host.ip] = None
        node.connect(self.relay)
        return node

    def honest(self, name: str, *, config: SwarmConfig | None = None) -> SimNode:
        """Adds an honest public node."""
        node = SimNode(self.net.host(name), config=config)
        give_secret(node)
        return node


def give_secret(node: SimNode) -> None:
    """Gives a node that has no connection yet a secret that no other one has, as real nodes have.

    Or a packet that was led astray would be answered with a reset that its sender must believe.
    """
    issuer = TokenIssuer(node.peer_id.multihash[-32:])
    endpoint = endpoint_of(node.swarm)
    endpoint._tokens = endpoint._incoming._tokens = issuer


def singles(transmit: Transmit) -> list[Transmit]:
    """Cuts a write into its datagrams."""
    step, buffer = transmit.segment_size, bytes(transmit.buffer)
    parts = [buffer[at : at + step] for at in range(0, len(buffer), step)]
    return [transmit._replace(segment_size=len(part), buffer=part) for part in parts]


def body(transmit: Transmit) -> bytes:
    """Returns what a circuit packet carries."""
    assert transmit.buffer[0] == CIRCUIT_TYPE
    return bytes(transmit.buffer[HEADER_SIZE:])


def with_body(transmit: Transmit, inside: bytes) -> Transmit:
    """Returns the packet with something else inside."""
    buffer = bytes(transmit.buffer[:HEADER_SIZE]) + inside
    return transmit._replace(segment_size=len(buffer), buffer=buffer)


class Mess:
    """A relay that does everything at once to the packets it forwards."""

    def __init__(self, rng: Random, share: float) -> None:
        """`share` of the packets are treated, each in some way."""
        self._rng = rng
        self._share = share
        self._held: list[Transmit] = []
        self._seen: list[Transmit] = []
        self.done = Counter[str]()

    def __call__(self, transmits: list[Transmit]) -> list[Transmit]:
        out: list[Transmit] = []
        for transmit in transmits:
            self._seen = [*self._seen[-63:], transmit]
            out += self._treat(transmit)
        return out

    def _treat(self, transmit: Transmit) -> list[Transmit]:
        held, self._held = self._held, []
        if self._rng.random() >= self._share:
            return [transmit, *held]
        inside, other = body(transmit), self._rng.choice(self._seen)
        way = self._rng.choice(
            ("drop", "double", "cut", "flip", "hold", "replay", "garbage", "swap", "cross")
        )
        self.done[way] += 1
        match way:
            case "drop":
                return held
            case "double":
                return [transmit, transmit, *held]
            case "cut":
                return [with_body(transmit, inside[: self._rng.randrange(len(inside) + 1)]), *held]
            case "flip":
                at = self._rng.randrange(len(inside))
                flipped = inside[:at] + bytes([inside[at] ^ 1]) + inside[at + 1 :]
                return [with_body(transmit, flipped), *held]
            case "hold":
                self._held = [transmit]
                return held
            case "replay":
                return [transmit, other, *held]
            case "garbage":
                return [transmit, with_body(transmit, self._rng.randbytes(60)), *held]
            case "swap":
                return [with_body(transmit, body(other)), with_body(other, inside), *held]
            case _:
                # another circuit's packet, or one's own back at its sender
                return [transmit, with_body(other, inside), *held]


def identities(count: int) -> list[PeerId]:
    """Returns ids that nobody has."""
    rng = Random(count)
    return [PeerId.from_public_key(PrivateKey(rng.randbytes(32)).public_key) for _ in range(count)]
