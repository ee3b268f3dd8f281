"""A datagram circuit: its ends, its two directions, and what is told about it (specs/relay.md).

Values of `circuit_table`, which keeps the rules.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, NewType, TypeAlias

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.protocols.relay.accounting import PeerUsage, Traffic
from p2pnode.protocols.relay.circuit_messages import DatagramLimit
from p2pnode.protocols.relay.fair_queue import Bucket, Flow
from p2pnode.protocols.relay.messages import Status

PENDING_TIMEOUT: Final = 40.0
"""seconds for the listener's answer; chosen: a little longer than its dialogue takes"""

CircuitKey = NewType("CircuitKey", int)


class Leg(NamedTuple):
    """One end of a circuit: a peer, and the validated path of its connection to us."""

    peer: PeerId
    connection: ConnectionHandle
    socket: SocketId
    local_ip: str | None
    remote: SocketAddr


@dataclass(frozen=True, slots=True)
class CircuitOffer:
    """A circuit that waits for the listener."""

    key: CircuitKey
    source_id: bytes
    """What the source sends by; goes into the relay's answer to it."""
    target_id: bytes
    """What the target sends by; goes into the relay's question to it."""
    limit: DatagramLimit


@dataclass(frozen=True, slots=True)
class CircuitEndsSoon:
    """To be told to both ends: the circuit is closed in `grace` seconds."""

    key: CircuitKey
    status: Status
    grace: float


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """The circuit is gone; its admission is to be released, its streams to be ended."""

    key: CircuitKey
    reason: str


@dataclass(frozen=True, slots=True)
class VolumeNearlySpent:
    """Little is left of the month's volume: all circuits end, none is admitted until it is over."""


CircuitTableEvent: TypeAlias = CircuitEndsSoon | CircuitClosed | VolumeNearlySpent


class PeerBuckets:
    """What one peer may have relayed, over all its circuits."""

    __slots__ = ("circuits", "received", "sent")

    def __init__(self, rate: int) -> None:
        self.sent = Bucket(rate)
        self.received = Bucket(rate)
        self.circuits = 0


class Circuit:
    """Two flows between two legs, until it is closed."""

    __slots__ = (
        "backward",
        "billed",
        "closes_at",
        "forward",
        "idle_at",
        "is_announced",
        "is_open",
        "key",
        "limit",
        "notice_at",
        "source",
        "source_id",
        "target",
        "target_id",
    )

    def __init__(
        self, offer: CircuitOffer, source: Leg, target: Leg, flows: tuple[Flow, Flow], now: Instant
    ) -> None:
        self.key = offer.key
        self.source_id = offer.source_id
        self.target_id = offer.target_id
        self.limit = offer.limit
        self.forward, self.backward = flows
        self.is_open = self.is_announced = False
        self.billed = 0
        """Bytes of both directions that the peers' shares of the month know of."""
        self.idle_at: Instant | None = None
        """When it is asked whether it has been idle."""
        self.source = source
        self.target = target
        self.notice_at: Instant | None = None
        self.closes_at: Instant | None = now + PENDING_TIMEOUT
        self.follow()

    def follow(self) -> None:
        """Lets both directions run between the legs as they are now."""
        for flow, start, end in (
            (self.forward, self.source, self.target),
            (self.backward, self.target, self.source),
        ):
            flow.source_socket, flow.source_remote = start.socket, start.remote
            flow.socket, flow.local_ip, flow.remote = end.socket, end.local_ip, end.remote

    @property
    def carried(self) -> int:
        """Bytes of both directions that went on."""
        return self.forward.forwarded_bytes + self.backward.forwarded_bytes

    @property
    def used_at(self) -> Instant:
        """When something went on last, either way."""
        return max(self.forward.used_at, self.backward.used_at)

    def traffic(self) -> tuple[Traffic, Traffic]:
        """Returns what went forward and backward."""
        first, second = (
            Traffic(
                flow.received_packets,
                flow.received_bytes,
                flow.forwarded_packets,
                flow.forwarded_bytes,
            )
            for flow in (self.forward, self.backward)
        )
        return first, second

    def shares(self) -> tuple[tuple[PeerId, PeerUsage], tuple[PeerId, PeerUsage]]:
        """Returns what the circuit carried, as each of its ends sees it."""
        forward, backward = self.traffic()
        return (
            (self.source.peer, PeerUsage(forward, backward)),
            (self.target.peer, PeerUsage(backward, forward)),
        )
