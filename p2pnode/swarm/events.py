"""What a swarm reports to its shell."""

from typing import NamedTuple, TypeAlias

from p2pnode.errors import ConnectionLost, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.protocols.autonat import Reachability, Verdict
from p2pnode.protocols.identify import Disposition, IdentifyInfo, SocketReport
from p2pnode.protocols.nat_behaviour import NatAnswer, NatRequest
from p2pnode.resources.refusal import Refusal
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName


class ConnectionEstablished(NamedTuple):
    """A peer is connected that was not, or once more."""

    connection: ConnectionHandle
    peer_id: PeerId
    is_initiator: bool
    route: Route
    handshake_time: float
    """seconds"""
    transport: TransportName
    is_limited: bool
    """Whether a relay will end it after some bytes or some time."""


class ConnectionClosed(NamedTuple):
    connection: ConnectionHandle
    peer_id: PeerId
    reason: ConnectionLost
    is_last: bool
    """The peer is not connected any more."""


class Fault(NamedTuple):
    """A bug of this program has cost a connection, a stream or a datagram, and nothing else."""

    error: Exception
    """With its traceback."""


class ResourceRefused(NamedTuple):
    """Somebody was refused something because a scope was full; the last one of its kind."""

    refusal: Refusal
    times: int
    """Of this resource and this kind of scope, since the start."""


class DialSucceeded(NamedTuple):
    dial_id: int
    connection: ConnectionHandle
    peer_id: PeerId


class DialFailed(NamedTuple):
    dial_id: int
    attempts: tuple[tuple[Multiaddr, P2PNodeError], ...]


class DialEnded(NamedTuple):
    """Any dial of a peer is over, also one that no user asked for."""

    is_success: bool
    seconds: float
    tried: int
    """Addresses, and relays that were asked for a circuit."""
    attempts: tuple[tuple[Multiaddr, P2PNodeError], ...]
    """What failed on the way."""


class StreamOpened(NamedTuple):
    """A peer opened a stream for a protocol that the application handles."""

    stream: SwarmStream


class StreamReadable(NamedTuple):
    """`read` may have something new: bytes, the end, or the reason that there is neither."""

    stream: SwarmStream


class StreamWritable(NamedTuple):
    """`write` may take something again, or raise."""

    stream: SwarmStream


class StreamsAvailable(NamedTuple):
    """`open_stream` found no room before; now the peer allows more streams."""

    connection: ConnectionHandle


class PeerIdentified(NamedTuple):
    """What a peer says of itself, or says anew."""

    connection: ConnectionHandle
    info: IdentifyInfo


class IdentifyFailed(NamedTuple):
    connection: ConnectionHandle
    reason: str


class PongReceived(NamedTuple):
    connection: ConnectionHandle
    rtt: float
    """seconds"""


class PingFailed(NamedTuple):
    connection: ConnectionHandle
    reason: str


class AddressObserved(NamedTuple):
    """A peer told where it sees us; `report` is what all evidence for the socket amounts to."""

    peer_id: PeerId
    address: SocketAddr
    disposition: Disposition
    report: SocketReport
    transport: TransportName
    """Of the connection: it is what the peer sees at that address."""


class PathChanged(NamedTuple):
    """The data of a connection goes another way from now on."""

    connection: ConnectionHandle
    peer_id: PeerId
    route: Route
    reason: str
    transport: TransportName
    is_limited: bool


class PeerPathChanged(NamedTuple):
    """What begins with a peer goes another way from now on: its best connection does, or is another
    one."""

    connection: ConnectionHandle
    peer_id: PeerId
    route: Route
    reason: str
    transport: TransportName
    is_limited: bool


class DatagramReceived(NamedTuple):
    connection: ConnectionHandle
    data: bytes


class ListenAddressesChanged(NamedTuple):
    addresses: tuple[Multiaddr, ...]


class ReachabilityChanged(NamedTuple):
    """What AutoNAT believes has changed, of the node or of one of its addresses."""

    reachability: Reachability
    verdicts: tuple[tuple[Multiaddr, Verdict], ...]
    """On every address that this node might have, best ones first."""


class ReservationsChanged(NamedTuple):
    """The relays that this node can be reached through are others now."""

    relays: tuple[PeerId, ...]
    addresses: tuple[Multiaddr, ...]
    """Of this node through them, with /p2p/<us> at the end."""


class RecordSigned(NamedTuple):
    """A signed peer record of our own is about to be told to a peer."""

    seq: int
    """No later record, in this run or another one, may have a lower number."""


class ClockSkewChanged(NamedTuple):
    """What is known of a relay's wall clock, beside ours, is another: it costs no reservation."""

    relay: PeerId
    ahead: float
    """Seconds; negative where the relay's is behind, 0 where they agree."""


class PeerFound(NamedTuple):
    """Other peers know where to reach one that was looked for."""

    peer_id: PeerId
    addresses: tuple[Multiaddr, ...]
    """Without the peer's own /p2p at the end; also through relays."""


class PeerNotFound(NamedTuple):
    """Nobody that was asked knows the peer."""

    peer_id: PeerId
    reason: str


class ReversalEnded(NamedTuple):
    """A peer that is public was dialled directly, beside the circuit that it came through."""

    connection: ConnectionHandle
    is_direct: bool


class PunchEnded(NamedTuple):
    """A round of hole punching is over."""

    connection: ConnectionHandle
    peer_id: PeerId
    round: int
    strategy: str
    is_direct: bool
    reason: str
    """Why there is no direct path; empty where there is one."""
    is_initiator: bool
    """Of the round: this node asked for it."""


class NatAnswered(NamedTuple):
    """What a peer said about NATs that it was asked by `ask_nat`."""

    connection: ConnectionHandle
    request: NatRequest
    answer: NatAnswer | None
    """None where there is none."""
    reason: str
    """Why there is none."""


SwarmEvent: TypeAlias = (
    ConnectionEstablished
    | ConnectionClosed
    | Fault
    | ResourceRefused
    | ResourceRefused
    | DialSucceeded
    | DialFailed
    | DialEnded
    | StreamOpened
    | StreamReadable
    | StreamWritable
    | StreamsAvailable
    | PeerIdentified
    | IdentifyFailed
    | PongReceived
    | PingFailed
    | AddressObserved
    | PathChanged
    | PeerPathChanged
    | DatagramReceived
    | ListenAddressesChanged
    | ReachabilityChanged
    | ReservationsChanged
    | RecordSigned
    | ClockSkewChanged
    | PeerFound
    | PeerNotFound
    | PunchEnded
    | ReversalEnded
    | NatAnswered
)


def connection_of(event: SwarmEvent) -> ConnectionHandle | None:
    """Returns the connection that an event is about, where it is about one."""
    match event:
        case StreamOpened(stream) | StreamReadable(stream) | StreamWritable(stream):
            return stream.connection
        case _:
            return getattr(event, "connection", None)
