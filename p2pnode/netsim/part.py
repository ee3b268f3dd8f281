"""The one interface of everything that a packet meets, and the plugs that join the parts.

A part has ports.  It takes packets in by `handle_packet` and passes them on by `port.send`, at once
or at a later virtual time.  So a topology is a composition of parts and none knows its neighbours.

    host -- link -- switch -- firewall -- NAT box -- link -- router -- link -- host
"""

from typing import Protocol

from p2pnode.clock import Instant
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.trace import Drop, Trace


class Part(Protocol):
    """A link, router, NAT box, firewall or host."""

    @property
    def name(self) -> str:
        """Unique in its world; the part's dice and its trace records are found by it."""
        ...

    @property
    def trace(self) -> Trace: ...

    def handle_packet(self, packet: Packet, port: "Port", now: Instant) -> None:
        """Takes a packet that came in by one of this part's ports."""
        ...


class Port:
    """A plug of a part; carries packets to the port that it is connected with, without delay."""

    __slots__ = ("part", "peer")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.peer: Port | None = None

    def send(self, packet: Packet, now: Instant) -> None:
        """Hands the packet to the part at the other end."""
        peer = self.peer
        if peer is None:
            self.part.trace.dropped(now, self.part.name, packet, Drop.UNPLUGGED)
            return
        peer.part.handle_packet(packet, peer, now)


class TwoPort(Part, Protocol):
    """A part that packets pass through: a link, a NAT box, a firewall."""

    @property
    def inside(self) -> Port:
        """The side of the users."""
        ...

    @property
    def outside(self) -> Port:
        """The side of the network."""
        ...


def connect(a: Port, b: Port) -> None:
    """Plugs two ports together, out of whatever they were in before."""
    unplug(a)
    unplug(b)
    a.peer = b
    b.peer = a


def unplug(port: Port) -> None:
    """Pulls the plug at both ends; packets sent there are dropped and traced."""
    if port.peer is not None:
        port.peer.peer = None
        port.peer = None


def chain(inner: Port, *parts: TwoPort, outer: Port) -> None:
    """Joins two ports through the parts, listed from the inside to the outside."""
    for part in parts:
        connect(inner, part.inside)
        inner = part.outside
    connect(inner, outer)
