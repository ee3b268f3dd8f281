"""What a swarm reports to its shell."""

from typing import NamedTuple, TypeAlias

from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import UdpAddr
from p2pnode.protocols.identify import Disposition, IdentifyInfo, SocketReport
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transport.route import Route
from p2pnode.wire.multiaddr import Multiaddr


class ConnectionEstablished(NamedTuple):
    """A peer is connected that was not, or once more."""

    connection: int
    peer_id: PeerId
    is_initiator: bool
    route: Route


class ConnectionClosed(NamedTuple):
    connection: int
    peer_id: PeerId
    reason: P2PNodeError
    is_last: bool
    """The peer is not connected any more."""


class DialSucceeded(NamedTuple):
    dial_id: int
    connection: int
    peer_id: PeerId


class DialFailed(NamedTuple):
    dial_id: int
    attempts: tuple[tuple[Multiaddr, P2PNodeError], ...]


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

    connection: int


class PeerIdentified(NamedTuple):
    """What a peer says of itself, or says anew."""

    connection: int
    info: IdentifyInfo


class IdentifyFailed(NamedTuple):
    connection: int
    reason: str


class PongReceived(NamedTuple):
    connection: int
    rtt: float
    """seconds"""


class PingFailed(NamedTuple):
    connection: int
    reason: str


class AddressObserved(NamedTuple):
    """A peer told where it sees us; `report` is what all evidence for the socket amounts to."""

    peer_id: PeerId
    address: UdpAddr
    disposition: Disposition
    report: SocketReport


class PathChanged(NamedTuple):
    """The data of a connection goes another way from now on."""

    connection: int
    peer_id: PeerId
    route: Route
    reason: str


class DatagramReceived(NamedTuple):
    connection: int
    data: bytes


class ListenAddressesChanged(NamedTuple):
    addresses: tuple[Multiaddr, ...]


SwarmEvent: TypeAlias = (
    ConnectionEstablished
    | ConnectionClosed
    | DialSucceeded
    | DialFailed
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
    | DatagramReceived
    | ListenAddressesChanged
)
