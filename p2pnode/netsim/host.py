"""A host: sockets, and a machine that is driven exactly as the trio shell drives it, and watched.

    packets of one instant -> handle_received    -+
    links, of one instant  -> handle_link_events -+
    deadline reached       -> handle_timeout     -+-> drain, then poll_timeout
    host.call(command)     -----------------------+

A drain is rounds of `drain_once`.  The host moves bytes, time and events; it decides nothing.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, ParamSpec, TypeVar

from p2pnode.clock import Instant, UnixTime
from p2pnode.drain import drain_once
from p2pnode.links import LinkEvent, LinkOutlet
from p2pnode.machine import (
    MAX_BEGINNING,
    DatagramMachine,
    Obstacle,
    SocketAddr,
    SocketId,
    Transmit,
    Unreachable,
)
from p2pnode.netsim.arrivals import Arrival, coalesce
from p2pnode.netsim.contract import Contract
from p2pnode.netsim.host_links import HostLinks, LinkKnobs
from p2pnode.netsim.link import ETHERNET_MTU
from p2pnode.netsim.packet import DEFAULT_TTL, MAX_UDP_PAYLOAD, Packet, wire_size
from p2pnode.netsim.part import Port
from p2pnode.netsim.stack import WILDCARD_IPV4, Interface, Stack
from p2pnode.netsim.trace import Drop, Trace
from p2pnode.netsim.world import World

MAX_EVENTS_KEPT = 100_000
"""Events in `host.events`; older ones are forgotten.  Chosen: more than a test looks at."""

MAX_DRAIN_ROUNDS = 100_000
"""Polls of one drain.  Chosen: a machine that still has output then will never be done."""

MAX_TIMEOUTS_AT_ONCE = 1_000
"""Calls of `handle_timeout` at one instant.  Chosen: a deadline that handling does not move."""

P = ParamSpec("P")
T = TypeVar("T")
MachineT = TypeVar("MachineT", bound=DatagramMachine[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class HostParams:
    """What differs between computers; times in seconds."""

    clock_offset: float = 0.0
    """Added to virtual time to get the host's `now`; instants of two hosts never compare."""
    unix_skew: float = 0.0
    """How wrong its date is."""
    clock_pauses: bool = False
    """Whether `now` stands still while the machine is suspended, as Linux's monotonic clock."""
    gro_segments: int = 1
    """Datagrams that one `Received` joins at most; 64 is what Linux does, 1 switches it off."""
    batch_window: float = 0.0
    """How long a first arrival waits for more, as a busy host's would."""
    receive_buffer: int = 4 * 1024 * 1024
    """Bytes of payload that wait for the machine at most."""
    has_pktinfo: bool = True
    """Whether `Received.local_ip` is filled in."""
    links: LinkKnobs = field(default_factory=LinkKnobs)


class Host:
    """One computer with at most one machine."""

    def __init__(self, world: World, name: str, params: HostParams | None = None) -> None:
        self.name = name
        self.world = world
        self.trace: Trace = world.trace
        self.params = HostParams() if params is None else params
        self.rng = world.rng(f"{name}/rng")
        """Dice for jitter, for the machine."""
        self.entropy = world.entropy(f"{name}/entropy")
        """Bytes for secrets, for the machine."""
        self.stack = Stack(world.rng(f"{name}/ports"))
        self.events: deque[Any] = deque(maxlen=MAX_EVENTS_KEPT)
        """What the machine told, oldest first."""
        self._driven = _Driven(self)
        self.links = HostLinks(
            world, name, self.stack, self.params.links, self._driven.handle_link_events
        )
        world.add(self)

    @property
    def now(self) -> Instant:
        """The host's monotonic clock."""
        return self._driven.now

    @property
    def unix_now(self) -> UnixTime:
        """The date as this host believes it."""
        return UnixTime(self.world.unix_now + self.params.unix_skew)

    @property
    def interfaces(self) -> list[Interface]:
        return self.stack.interfaces

    @property
    def ip(self) -> str:
        """The first address."""
        return self.stack.addresses()[0]

    def add_interface(self, *addresses: str, mtu: int = ETHERNET_MTU) -> Interface:
        """Adds an interface with addresses such as "10.0.0.2/24"; plug it in with `chain`."""
        interface = self.stack.add_interface(self, mtu)
        for address in addresses:
            interface.add_address(address)
        return interface

    def bind(self, port: int = 0, ip: str = WILDCARD_IPV4) -> SocketId:
        """Opens a UDP socket; "0.0.0.0" and "::" stand for every address of the family.

        Raises SimulationError where the port is taken.
        """
        socket = self.stack.bind(ip, port)
        if socket is None:
            raise self.world.error(f"{self.name} cannot bind {SocketAddr(ip, port)}")
        return socket

    def listen(self, port: int = 0, ip: str = WILDCARD_IPV4) -> SocketId:
        """Listens for links.  Raises SimulationError where the port is taken."""
        socket = self.stack.next_id()
        if self.links.listen(socket, SocketAddr(ip, port)) is None:
            raise self.world.error(f"{self.name} cannot listen on {SocketAddr(ip, port)}")
        return socket

    def local_addr(self, socket: SocketId) -> SocketAddr:
        """Returns what a socket or listener is bound to.  Raises KeyError where it is not open."""
        return self.links.listeners.get(socket) or self.stack.local_addr(socket)

    def close(self, socket: SocketId) -> None:
        """Closes a socket or listener.  Raises KeyError where it is not open."""
        if socket in self.links.listeners:
            self.links.stop_listening(socket)
        else:
            self.stack.close(socket)

    def attach(
        self,
        factory: Callable[["Host"], MachineT],
        on_event: Callable[[Any], object] | None = None,
    ) -> MachineT:
        """Makes a machine and drives it from now on, in place of the one that was there.

        `on_event` gets each event after it was put in `events`; it may command the machine.
        """
        machine = factory(self)
        self._driven.attach(machine, on_event)
        return machine

    def detach(self) -> None:
        """Takes the machine away as `kill -9` would; sockets stay open and lead nowhere."""
        self._driven.attach(None, None)

    def drain(self) -> None:
        """Must follow every change that application code makes to the machine."""
        self._driven.drain()

    def call(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls the machine's method, drains, and returns what it returned."""
        result = self._driven.call(command, *args, **kwargs)
        self._driven.drain()
        return result

    def suspend(self) -> None:
        """Closes the laptop's lid: nothing arrives and no timer fires until `resume`."""
        self._driven.suspend()
        self.links.is_awake = False

    def resume(self) -> None:
        """Opens the lid again; deadlines that have passed are handled at once."""
        self._driven.resume()
        self._driven.wake()
        self.links.is_awake = True
        self.links.wake()

    def handle_packet(self, packet: Packet, port: Port, now: Instant) -> None:
        assert isinstance(port, Interface)  # a host makes no other ports
        if port.is_up:
            self._driven.receive(packet, port.index, now)
        else:
            self.trace.dropped(now, self.name, packet, Drop.LINK_DOWN)


class _Driven:
    """The machine's side of a host: arrivals, the timer and the drain."""

    def __init__(self, host: Host) -> None:
        self.is_suspended = False
        self._suspended_at: Instant = 0.0
        self._paused = 0.0  # seconds that the clock has stood still in all
        self._host = host
        self._world = host.world
        self._machine: Contract[Any] | None = None
        self._on_event: Callable[[Any], object] | None = None
        self._is_draining = False
        self._last_now: Instant = -inf
        self._arrivals: list[Arrival] = []
        self._arrived_bytes = 0
        self._unreachable: list[Unreachable] = []
        self._timer_at: Instant = inf  # the earliest heap entry that will look at the deadline
        self._timed_out_at: Instant = -inf
        self._timeouts_at_once = 0

    @property
    def now(self) -> Instant:
        """Never decreases, though adding the offset rounds."""
        if not (self.is_suspended and self._host.params.clock_pauses):
            self._last_now = max(self._last_now, self._world.now + self._offset)
        return self._last_now

    @property
    def _offset(self) -> float:
        """The host's clock less the world's."""
        return self._host.params.clock_offset - self._paused

    def suspend(self) -> None:
        if not self.is_suspended:
            self._last_now = self.now
            self.is_suspended, self._suspended_at = True, self._world.now

    def resume(self) -> None:
        if self.is_suspended and self._host.params.clock_pauses:
            self._paused += self._world.now - self._suspended_at
        self.is_suspended = False

    def attach(
        self, machine: DatagramMachine[Any] | None, on_event: Callable[[Any], object] | None
    ) -> None:
        self._machine = None if machine is None else Contract(machine, self._broken)
        self._on_event = on_event
        has_links = self._machine is not None and self._machine.has_links
        self._host.links.change_machine(has_links=has_links)
        self._arrivals.clear()
        self._arrived_bytes = 0
        self._unreachable.clear()
        self.drain()

    def call(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        machine = self._machine
        return (
            command(*args, **kwargs) if machine is None else machine.call(command, *args, **kwargs)
        )

    def _broken(self, what: str) -> Exception:
        return self._world.error(f"{self._host.name} breaks the contract of machines: {what}")

    def receive(self, packet: Packet, interface_index: int, now: Instant) -> None:
        host = self._host
        _, src, dst, ecn, _, payload = packet
        if self.is_suspended or self._machine is None:
            host.trace.dropped(now, host.name, packet, Drop.HOST_DOWN)
            return
        if not host.stack.owns(dst.ip):
            host.trace.dropped(now, host.name, packet, Drop.NOT_OURS)
            return
        socket = host.stack.socket_at(dst.ip, dst.port)
        if socket is None:
            host.trace.dropped(now, host.name, packet, Drop.PORT_CLOSED)
            return
        if self._arrived_bytes + len(payload) > host.params.receive_buffer:
            host.trace.dropped(now, host.name, packet, Drop.BUFFER_FULL)
            return
        host.trace.delivered(now, host.name, packet)
        if src.ip.startswith("fe80:"):
            src = SocketAddr(src.ip, src.port, interface_index)
        local_ip = dst.ip if host.params.has_pktinfo else None
        if not self._arrivals:
            self._world.schedule(now + host.params.batch_window, self._handle_arrivals)
        self._arrivals.append(Arrival(socket, local_ip, src, ecn, payload))
        self._arrived_bytes += len(payload)

    def wake(self) -> None:
        """Handles the deadline if it has passed, and drains."""
        machine = self._machine
        if machine is None or self.is_suspended:
            return
        deadline = machine.poll_timeout()
        now = self.now
        if deadline is not None and deadline.at - self._offset <= self._world.now:
            # Subtracting the offset rounds too: the machine must not see less than its deadline.
            self._last_now = now = max(now, deadline.at)
            self._count_timeout(deadline.why)
            machine.handle_timeout(now)
        self.drain()

    def drain(self) -> None:
        machine = self._machine
        if machine is None or self._is_draining or self.is_suspended:
            return
        self._is_draining = True
        try:
            self._drain(machine)
        finally:
            self._is_draining = False
        if self._machine is machine:
            self._arm(machine)
        else:
            self.drain()

    def _drain(self, machine: Contract[Any]) -> None:
        carry_out = self._host.links.carry_out
        links = LinkOutlet(machine, carry_out) if machine.has_links else None
        for _ in range(MAX_DRAIN_ROUNDS):
            has_more = drain_once(machine, self.now, self._send, self._tell, links=links)
            if self._machine is not machine:
                return
            if not has_more:
                if not self._unreachable:
                    return
                reports, self._unreachable = self._unreachable, []
                machine.handle_unreachable(reports, self.now)
        raise self._world.error(f"{self._host.name} never stops sending")

    def _tell(self, event: object) -> None:
        self._host.events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def _arm(self, machine: DatagramMachine[Any]) -> None:
        deadline = machine.poll_timeout()
        if deadline is None:
            return
        at = deadline.at - self._offset
        if at < self._timer_at and at != inf:
            self._timer_at = max(at, self._world.now)
            self._world.schedule(self._timer_at, self._handle_timer, self._timer_at)

    def _handle_timer(self, scheduled_at: Instant) -> None:
        if scheduled_at != self._timer_at:
            return  # an earlier deadline came up since, and has been handled
        self._timer_at = inf
        self.wake()

    def _handle_arrivals(self) -> None:
        arrivals, self._arrivals = self._arrivals, []
        self._arrived_bytes = 0
        if self._machine is None or not arrivals or self.is_suspended:
            return
        self._machine.handle_received(coalesce(arrivals, self._host.params.gro_segments), self.now)
        self.drain()

    def handle_link_events(self, events: list[LinkEvent]) -> None:
        """Hands over what happened to links at this instant."""
        assert self._machine is not None  # links end with their machine
        self._machine.handle_link_events(events, self.now)
        self.drain()

    def _send(self, transmit: Transmit) -> None:
        host, world = self._host, self._world
        now, trace = world.now, host.trace
        socket, local_ip, remote, ecn, ttl, segment_size, buffer = transmit
        route = host.stack.route(socket, local_ip, remote)
        dst = SocketAddr(remote.ip, remote.port)
        hops = DEFAULT_TTL if ttl is None else ttl
        data = bytes(buffer)
        if isinstance(route, Drop):
            unsent = Packet(next(world.packet_ids), SocketAddr("", 0), dst, ecn, hops, data)
            trace.dropped(now, host.name, unsent, route)
            if route is Drop.NO_ROUTE:
                self._not_sent(transmit, data, Obstacle.NO_ROUTE)
            return
        interface, src = route
        for start in range(0, len(data) or 1, max(segment_size, 1)):
            payload = data[start : start + segment_size]
            packet = Packet(next(world.packet_ids), src, dst, ecn, hops, payload)
            trace.sent(now, host.name, packet)
            if interface is None:
                world.schedule(now, self._loop_back, packet)
            elif len(payload) > MAX_UDP_PAYLOAD or wire_size(packet) > interface.mtu:
                trace.dropped(now, host.name, packet, Drop.TOO_BIG)
                self._not_sent(transmit, payload, Obstacle.TOO_BIG)
            else:
                interface.send(packet, now)

    def _not_sent(self, transmit: Transmit, datagram: bytes, obstacle: Obstacle) -> None:
        self._unreachable.append(
            Unreachable(transmit.socket, transmit.remote, obstacle, True, datagram[:MAX_BEGINNING])
        )

    def _loop_back(self, packet: Packet) -> None:
        self.receive(packet, 0, self._world.now)

    def _count_timeout(self, why: str) -> None:
        if self._timed_out_at != self._world.now:
            self._timed_out_at, self._timeouts_at_once = self._world.now, 0
        self._timeouts_at_once += 1
        if self._timeouts_at_once > MAX_TIMEOUTS_AT_ONCE:
            raise self._world.error(f"{self._host.name} does not move its deadline {why!r}")
