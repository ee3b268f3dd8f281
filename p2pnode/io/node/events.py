"""What a node reports to its application, and the bounded feeds that carry it.

Rule: a subscriber that does not keep up loses the oldest events, is told how many, and costs the
node nothing else.
"""

import weakref
from collections import deque
from itertools import count
from typing import Final, NamedTuple, TypeAlias

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.node.connection_info import PathKind
from p2pnode.protocols.autonat import Reachability, Verdict
from p2pnode.protocols.identify import Disposition, IdentifyInfo, SocketReport
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

MAX_EVENTS: Final = 1024
"""events a subscriber may be behind; chosen: a second of a busy node"""


class PeerConnected(NamedTuple):
    """There is a connection with a peer where there was none."""

    peer_id: PeerId
    is_initiator: bool
    """Whether we dialled."""
    path: PathKind
    via: Multiaddr
    transport: TransportName
    is_limited: bool
    """Whether a relay will end it after some bytes or some time."""


class PeerDisconnected(NamedTuple):
    """The last connection with a peer is gone."""

    peer_id: PeerId
    reason: P2PNodeError


class PeerIdentified(NamedTuple):
    """What a peer says of itself, or says anew."""

    info: IdentifyInfo


class AddressObserved(NamedTuple):
    """A peer told where it sees us."""

    observer: PeerId
    address: Multiaddr
    disposition: Disposition
    """What became of this observation."""
    report: SocketReport
    """What all observations of that socket amount to."""


class PathChanged(NamedTuple):
    """What begins with a peer goes another way from now on: its connection does, or is another one.

    Streams that began on one that is still there go on as they went.
    """

    peer_id: PeerId
    path: PathKind
    via: Multiaddr
    reason: str
    transport: TransportName
    is_limited: bool


class ListenAddressesChanged(NamedTuple):
    """Where this node can be dialled now; full addresses."""

    addresses: tuple[Multiaddr, ...]


class ReachabilityChanged(NamedTuple):
    """What is believed of who reaches this node, of it as a whole or of one of its addresses."""

    reachability: Reachability
    verdicts: tuple[tuple[Multiaddr, Verdict], ...]
    """On every address that the node might have."""


class ReservationsChanged(NamedTuple):
    """The relays that this node is reached through are others now."""

    relays: tuple[PeerId, ...]
    addresses: tuple[Multiaddr, ...]
    """Of this node through them; full addresses."""


class ClockSkewChanged(NamedTuple):
    """What is known of a relay's wall clock, beside ours, is another.

    One of the two is wrong.  It costs no reservation, but people read logs by it.
    """

    relay: PeerId
    ahead: float
    """Seconds; negative where the relay's is behind, 0 where they agree."""


class PunchEnded(NamedTuple):
    """A round of hole punching is over."""

    peer_id: PeerId
    round: int
    strategy: str
    is_direct: bool
    reason: str
    """Why there is no direct path; empty where there is one."""


class BootstrapFailed(NamedTuple):
    """A peer that this node is to be connected with cannot be reached now."""

    target: str
    reason: str
    retry_in: float
    """seconds"""


class EventsDropped(NamedTuple):
    """The subscriber was too slow: some events before the next one are lost."""

    dropped: int


NodeEvent: TypeAlias = (
    PeerConnected
    | PeerDisconnected
    | PeerIdentified
    | AddressObserved
    | PathChanged
    | ListenAddressesChanged
    | ReachabilityChanged
    | ReservationsChanged
    | ClockSkewChanged
    | PunchEnded
    | BootstrapFailed
    | EventsDropped
)


class EventSubscription:
    """The events from the subscription on; an async iterator that ends with the node."""

    def __init__(self, max_events: int) -> None:
        self._events: deque[NodeEvent] = deque(maxlen=max_events)
        self._dropped = 0
        self._is_closed = False
        self._waiting = trio.lowlevel.ParkingLot()

    def push(self, event: NodeEvent) -> None:
        if len(self._events) == self._events.maxlen:
            self._dropped += 1
        self._events.append(event)
        self._waiting.unpark_all()

    def close(self) -> None:
        """No more events will come; those that are here can still be taken."""
        self._is_closed = True
        self._waiting.unpark_all()

    def __aiter__(self) -> "EventSubscription":
        return self

    async def __anext__(self) -> NodeEvent:
        """Returns the next event.  Cancel-safe."""
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            await self._waiting.park()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return EventsDropped(dropped)
        return self._events.popleft()


class EventFeed:
    """All subscribers; a subscription that nobody refers to any more has ended."""

    def __init__(self) -> None:
        self._subscriptions: weakref.WeakValueDictionary[int, EventSubscription] = (
            weakref.WeakValueDictionary()
        )
        self._ids = count()

    def subscribe(self, max_events: int = MAX_EVENTS) -> EventSubscription:
        subscription = EventSubscription(max_events)
        self._subscriptions[next(self._ids)] = subscription
        return subscription

    def publish(self, event: NodeEvent) -> None:
        for subscription in list(self._subscriptions.values()):
            subscription.push(event)

    def close(self) -> None:
        for subscription in list(self._subscriptions.values()):
            subscription.close()
