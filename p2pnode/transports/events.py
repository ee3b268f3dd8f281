"""What a transport tells of its dials and connections; of their streams, see `stream_events`."""

from typing import NamedTuple, TypeAlias

from p2pnode.errors import ConnectionLost, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.transports.route import Route
from p2pnode.transports.stream_events import StreamEvent


class PathValidated(NamedTuple):
    """A path, or a new address of a path, answers at 1,200 bytes."""

    path_id: int
    route: Route
    rtt: float
    """seconds"""


class PathConfirmed(NamedTuple):
    """The address that a path uses was asked again, and answers."""

    path_id: int
    route: Route


class PathFailed(NamedTuple):
    """A path did not answer any of its probes, or was given up."""

    path_id: int
    reason: str


class PathChanged(NamedTuple):
    """Data goes over this path and route from now on."""

    path_id: int
    route: Route
    reason: str


class PathSuspected(NamedTuple):
    """The path in use has stopped answering, and there is none to turn to."""

    path_id: int
    route: Route


class AddressObserved(NamedTuple):
    """The peer tells from which address our packets on a path reach it."""

    path_id: int
    route: Route
    address: SocketAddr


class DatagramReceived(NamedTuple):
    data: bytes


class MaxDatagramSizeChanged(NamedTuple):
    """The longest DATAGRAM frame's data that the path in use carries, in bytes."""

    size: int


class TokenReceived(NamedTuple):
    """To be shown when this address is dialled next."""

    remote: SocketAddr
    token: bytes


class ConnectionClosed(NamedTuple):
    """The end of a connection, reported once."""

    reason: ConnectionLost


ConnectionEvent: TypeAlias = (
    StreamEvent
    | PathValidated
    | PathConfirmed
    | PathFailed
    | PathSuspected
    | PathChanged
    | AddressObserved
    | DatagramReceived
    | MaxDatagramSizeChanged
    | TokenReceived
    | ConnectionClosed
)


class Connected(NamedTuple):
    """A handshake of ours or of a peer's has succeeded; the connection can be used."""

    peer_id: PeerId
    is_initiator: bool
    route: Route
    allows_streams: bool
    """False where the peer lets us open none: it came for something of its own, and will go."""
    handshake_time: float
    """seconds"""


class DialFailed(NamedTuple):
    """Nobody, or the wrong peer, answered at the dialled address."""

    route: Route
    reason: P2PNodeError


class TransportEvent(NamedTuple):
    """A fact about the connection, or the dial, with this handle."""

    handle: ConnectionHandle
    event: Connected | DialFailed | ConnectionEvent
