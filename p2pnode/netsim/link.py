"""A link: what a cable, a radio or a provider does to packets, each direction on its own.

In this order: the MTU, the queue in front of the bottleneck (with its ECN mark), loss, corruption,
delay with jitter, reordering, duplication.  Jitter alone keeps the order; only `reordering` breaks
it, so that one knob tests one thing.
"""

from dataclasses import dataclass

from p2pnode.clock import Instant
from p2pnode.machine import Ecn
from p2pnode.netsim.packet import IPV4_UDP_HEADERS, IPV6_UDP_HEADERS, Packet
from p2pnode.netsim.part import Port
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World

ETHERNET_MTU = 1500
"""Bytes (RFC 894)."""

DEFAULT_QUEUE = 256 * 1024
"""Bytes.  Chosen: about 170 full packets, 20 ms at 100 Mbit/s."""


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Loss in bursts: a two-state Markov chain that moves once for each packet."""

    enter: float
    """Probability of going from the good state to the bad one."""
    leave: float
    """Probability of going back; the mean burst is 1 / leave packets."""
    loss_in_bad: float = 1.0
    loss_in_good: float = 0.0

    @classmethod
    def with_rate(cls, loss: float, mean_burst: float) -> "GilbertElliott":
        """Returns the chain that loses this share of all packets, in bursts of this mean length."""
        leave = 1.0 / mean_burst
        return cls(enter=loss * leave / (1.0 - loss), leave=leave)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkParams:
    """One direction of a link.  Probabilities are per packet, times in seconds."""

    delay: float = 0.0
    jitter: float = 0.0
    """Added to the delay, uniform between 0 and this; never changes the order."""
    loss: float = 0.0
    """Independent loss."""
    bursts: GilbertElliott | None = None
    """Loss in bursts, on top of `loss`."""
    reordering: float = 0.0
    """Share of packets that are held back by `reordering_delay`, so that later ones overtake."""
    reordering_delay: float = 0.01
    duplication: float = 0.0
    corruption: float = 0.0
    """Share of packets in which one bit of the payload flips and the checksum still holds."""
    rate: float | None = None
    """Bits a second, IP headers included; None for a link without a bottleneck."""
    queue: int = DEFAULT_QUEUE
    """Bytes that wait for the bottleneck at most; what does not fit is dropped at the tail."""
    ecn_threshold: int | None = None
    """Bytes in the queue above which ECN-capable packets are marked CE (RFC 3168)."""
    mtu: int = ETHERNET_MTU
    """Bytes, IP header included; what is bigger is dropped in silence, as RFC 8899 expects."""


class _Direction:
    """One way through the link."""

    __slots__ = ("_in_burst", "_last_arrival", "_link", "_out", "_rng", "_sent_until", "params")

    def __init__(self, link: "Link", params: LinkParams, world: World, label: str) -> None:
        self.params = params
        self._link = link
        self._rng = world.rng(f"{link.name}/{label}")
        self._out: Port | None = None
        self._sent_until: Instant = 0.0  # when the bottleneck will have sent what it holds
        self._last_arrival: Instant = 0.0
        self._in_burst = False

    def leads_to(self, port: Port) -> None:
        self._out = port

    def handle_packet(self, packet: Packet, world: World) -> None:
        params, now = self.params, world.now
        headers = IPV6_UDP_HEADERS if ":" in packet.dst.ip else IPV4_UDP_HEADERS
        size = headers + len(packet.payload)
        if size > params.mtu:
            world.trace.dropped(now, self._link.name, packet, Drop.TOO_BIG)
            return
        leaves = now
        if params.rate is not None:
            backlog = max(0.0, self._sent_until - now) * params.rate / 8
            if backlog and backlog + size > params.queue:
                world.trace.dropped(now, self._link.name, packet, Drop.QUEUE_FULL)
                return
            leaves = self._sent_until = max(now, self._sent_until) + size * 8 / params.rate
            threshold = params.ecn_threshold
            if threshold is not None and backlog > threshold and packet.ecn != Ecn.NOT_ECT:
                packet = packet._replace(ecn=Ecn.CE)
        if (params.loss or params.bursts is not None) and self._is_lost(params):
            world.trace.dropped(now, self._link.name, packet, Drop.LOSS)
            return
        if params.corruption and self._rng.random() < params.corruption:
            packet = packet._replace(payload=self._flip_bit(packet.payload))
        self._deliver(packet, leaves, params, world)

    def _deliver(self, packet: Packet, leaves: Instant, params: LinkParams, world: World) -> None:
        rng = self._rng
        arrives = leaves + params.delay
        if params.jitter:
            arrives += rng.random() * params.jitter
        if params.reordering and rng.random() < params.reordering:
            arrives += params.reordering_delay  # _last_arrival stays, so that others overtake
        else:
            arrives = self._last_arrival = max(arrives, self._last_arrival)
        world.schedule(arrives, self._arrive, packet)
        if params.duplication and rng.random() < params.duplication:
            world.schedule(arrives, self._arrive, packet)

    def _arrive(self, packet: Packet) -> None:
        link = self._link
        if not link.is_up:
            link.trace.dropped(link.now, link.name, packet, Drop.LINK_DOWN)
            return
        assert self._out is not None
        self._out.send(packet, link.now)

    def _is_lost(self, params: LinkParams) -> bool:
        rng, chain = self._rng, params.bursts
        lost = rng.random() < params.loss
        if chain is not None:
            turn = rng.random()
            self._in_burst = turn >= chain.leave if self._in_burst else turn < chain.enter
            share = chain.loss_in_bad if self._in_burst else chain.loss_in_good
            lost = lost or rng.random() < share
        return lost

    def _flip_bit(self, payload: bytes) -> bytes:
        if not payload:
            return payload
        flipped = bytearray(payload)
        bit = self._rng.randrange(len(payload) * 8)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        return bytes(flipped)


class Link:
    """Two directions between an inside and an outside port."""

    def __init__(
        self, world: World, name: str, up: LinkParams, down: LinkParams | None = None
    ) -> None:
        """`up` leads from the inside to the outside; `down` is the same where it is not given."""
        self.name = name
        self.is_up = True
        self.inside = Port(self)
        self.outside = Port(self)
        self._world = world
        self._up = _Direction(self, up, world, "up")
        self._down = _Direction(self, up if down is None else down, world, "down")
        self._up.leads_to(self.outside)
        self._down.leads_to(self.inside)
        world.add(self)

    @property
    def trace(self) -> Trace:
        return self._world.trace

    @property
    def now(self) -> Instant:
        return self._world.now

    @property
    def up(self) -> LinkParams:
        """What it does to packets from the inside."""
        return self._up.params

    @property
    def down(self) -> LinkParams:
        """What it does to packets from the outside."""
        return self._down.params

    def configure(self, up: LinkParams | None = None, down: LinkParams | None = None) -> None:
        """Changes the directions that are given, from the next packet on."""
        if up is not None:
            self._up.params = up
        if down is not None:
            self._down.params = down

    def set_up(self, is_up: bool) -> None:
        """Cuts or restores the link; what is under way when it arrives at a cut is lost."""
        self.is_up = is_up

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        if not self.is_up:
            self.trace.dropped(now, self.name, packet, Drop.LINK_DOWN)
        elif port is self.inside:
            self._up.handle_packet(packet, self._world)
        else:
            self._down.handle_packet(packet, self._world)
