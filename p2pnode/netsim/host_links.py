"""A host's links: listeners, ends, and the machine's commands to them.

    LinkCommand -> carry_out -> LinkEnd -- Pipe -- LinkEnd -> events of one instant -> hand_over

What arrives at one instant is told at once, together, as a shell would that has slept.  Ports of
links have nothing to do with those of datagrams.  A port is free again as soon as its link has
ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Final, Protocol, cast

from p2pnode.links import (
    FIRST_ACCEPTED_LINK,
    LINK_ID_STEP,
    MAX_CLOSE_TIME,
    MAX_LINK_READ,
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkCommand,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkObstacle,
    PauseLink,
    ResumeLink,
    ShutdownLink,
    WriteLink,
)
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netsim.link_end import LinkEnd
from p2pnode.netsim.pipe import CONNECT_TIMEOUT, Mark, Pipe, Side
from p2pnode.netsim.stack import EPHEMERAL_PORTS, WILDCARD_IPV4, WILDCARD_IPV6, Route, Stack
from p2pnode.netsim.trace import Drop
from p2pnode.netsim.way import Way, find_way
from p2pnode.netsim.world import World

MAX_LINKS: Final = 8_192
"""Links of one host.  Chosen: twice as many as a test of many has."""

WINDOW: Final = 256 * 1024
"""Bytes under way and unread of one direction, at most.  Chosen: 40 Mbit/s at 50 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkKnobs:
    """What differs between hosts, of links."""

    pieces: tuple[int, int] = (1, MAX_LINK_READ)
    """Bytes that a read brings, at least and at most; evenly by order of magnitude."""
    window: int = WINDOW
    """Bytes that wait for each link's machine here, those under way to it included, at most."""
    max_links: int = MAX_LINKS


class _LinkHost(Protocol):
    """A host, as another one's links know it."""

    @property
    def links(self) -> "HostLinks": ...


class HostLinks:
    """The links of one host.  `hand_over` takes the events of an instant."""

    def __init__(
        self,
        world: World,
        name: str,
        stack: Stack,
        knobs: LinkKnobs,
        hand_over: Callable[[list[LinkEvent]], None],
    ) -> None:
        self.name = name
        self.knobs = knobs
        self.is_awake = True
        self.has_machine = False
        """Whether there is one that has links."""
        self.listeners: dict[SocketId, SocketAddr] = {}
        self.ends: dict[LinkId, LinkEnd] = {}
        """Those that the machine knows."""
        self._world = world
        self._stack = stack
        self._rng = world.rng(f"{name}/links")
        self._hand_over = hand_over
        self._places: dict[tuple[SocketAddr, SocketAddr], LinkEnd] = {}
        """Every end that is not over, by local and remote address."""
        self._next_accepted = FIRST_ACCEPTED_LINK
        self._noted: list[LinkEvent] = []
        self._closed: dict[LinkId, None] = {}
        """Links that the machine has closed, and `_noted` may have something of."""
        self._readable: dict[LinkEnd, None] = {}
        self._is_scheduled = False

    @property
    def window(self) -> int:
        return self.knobs.window

    @property
    def count(self) -> int:
        """How many links have a place here, those included that their machine has closed."""
        return len(self._places)

    def listen(self, socket: SocketId, address: SocketAddr) -> SocketAddr | None:
        """Listens there and returns the address; None where somebody does already."""
        if address.port == 0:
            address = address._replace(port=self._free_port(address.ip))
        if address in self.listeners.values():
            return None
        self.listeners[socket] = address
        return address

    def stop_listening(self, socket: SocketId) -> None:
        """Accepts no more; links that were accepted stay.  Raises KeyError for an unknown one."""
        del self.listeners[socket]

    def change_machine(self, *, has_links: bool) -> None:
        """Resets every link, as the end of a process does."""
        for end in [*self._places.values()]:
            end.reset()
        self._noted.clear()
        self._closed.clear()
        self._readable.clear()
        self.has_machine = has_links

    def wake(self) -> None:
        """The host has been resumed."""
        self._schedule()

    def carry_out(self, command: LinkCommand) -> None:
        """Does what the machine wants."""
        if isinstance(command, ConnectLink):
            self._connect(command)
            return
        if isinstance(command, CloseLink) and self._noted:
            self._closed[command.link] = None
        end = self.ends.get(command.link)
        if end is None:
            return  # it has ended, and the machine does not know yet
        match command:
            case WriteLink(_, data):
                end.write(bytes(data))
            case ShutdownLink():
                end.shut_down()
            case PauseLink():
                end.is_paused = True
            case ResumeLink():
                end.is_paused = False
                if end.has_more:
                    self.note_readable(end)
            case CloseLink(_, reset):
                self._close(end, reset=reset)

    def note(self, event: LinkEvent) -> None:
        self._noted.append(event)
        self._schedule()

    def note_readable(self, end: LinkEnd) -> None:
        self._readable[end] = None
        self._schedule()

    def forget(self, end: LinkEnd) -> None:
        if self.ends.get(end.link) is end:
            del self.ends[end.link]
        if end.is_over:
            self._places.pop((end.local, end.remote), None)
        self._readable.pop(end, None)

    def piece(self) -> int:
        least, most = self.knobs.pieces
        if least == most:
            return most
        return round(exp(self._rng.uniform(log(least), log(most))))

    def on_open(self, pipe: Pipe) -> None:
        """Somebody wants to connect to this host."""
        local, remote = pipe.sides[1].address, pipe.sides[0].address
        listener = self._listener_at(local)
        is_taken = (local, remote) in self._places
        if listener is None or not self.has_machine or is_taken or self._is_full():
            pipe.refuse()
            return
        end = LinkEnd(self, self._next_accepted, local, remote)
        self._next_accepted = LinkId(self._next_accepted + LINK_ID_STEP)
        self._add(end)
        end.join(pipe, 1)
        pipe.accept(end)
        self.note(LinkAccepted(end.link, listener, local, remote))
        end.begin()

    def _connect(self, command: ConnectLink) -> None:
        way = self._way(command)
        if isinstance(way, LinkObstacle):
            self.note(LinkFailed(command.link, way))
            return
        route, found = way
        end = LinkEnd(self, command.link, route.source, command.remote)
        self._add(end)
        if found is not None:
            far = self if found.far is None else cast("_LinkHost", found.far).links
            seen = found.seen(route.source.port)
            called = SocketAddr(command.remote.ip, command.remote.port)
            pipe = Pipe(self._world, found, (Side(self, seen), Side(far, called)), end)
            end.join(pipe, 0)
            pipe.flows[0].send_mark(Mark.OPEN)
        self._world.schedule(self._world.now + CONNECT_TIMEOUT, self._give_up, end)

    def _way(self, command: ConnectLink) -> "tuple[Route, Way | None] | LinkObstacle":
        """Returns how it leaves, and the way to where it would arrive, or why it does not leave."""
        local_ip, remote = command.local_ip, command.remote
        if self._is_full():
            return LinkObstacle.TOO_MANY
        if command.listener is None:
            port = self._free_port(local_ip or "")
        else:
            bound = self.listeners.get(command.listener)
            if bound is None or bound.is_ipv6 is not remote.is_ipv6:
                return LinkObstacle.ADDRESS_NOT_AVAILABLE
            port = bound.port
            local_ip = local_ip if bound.ip in (WILDCARD_IPV4, WILDCARD_IPV6) else bound.ip
        route = self._stack.route_from(local_ip, port, remote)
        if isinstance(route, Drop):
            is_ours = route is Drop.BAD_SOURCE
            return LinkObstacle.ADDRESS_NOT_AVAILABLE if is_ours else LinkObstacle.NO_ROUTE
        if (route.source, remote) in self._places:
            return LinkObstacle.ADDRESS_IN_USE
        if route.source == remote:  # TCP would connect the socket to itself
            return LinkObstacle.REFUSED
        if route.interface is None:
            return route, Way(route.source.ip, (), ())
        return route, find_way(route.interface, route.source.ip, remote.ip)

    def _give_up(self, end: LinkEnd) -> None:
        if not end.is_connected:
            end.fail(LinkObstacle.TIMED_OUT)

    def _close(self, end: LinkEnd, *, reset: bool) -> None:
        if reset or not end.is_connected:
            end.reset()
            return
        end.close()
        if not end.is_over:
            self._world.schedule(self._world.now + MAX_CLOSE_TIME, self._reset_if_left, end)

    def _reset_if_left(self, end: LinkEnd) -> None:
        if not end.is_over:
            end.reset()

    def _add(self, end: LinkEnd) -> None:
        self.ends[end.link] = self._places[end.local, end.remote] = end

    def _is_full(self) -> bool:
        return len(self._places) >= self.knobs.max_links

    def _listener_at(self, address: SocketAddr) -> SocketId | None:
        wildcard = WILDCARD_IPV6 if address.is_ipv6 else WILDCARD_IPV4
        for socket, bound in self.listeners.items():
            if bound.port == address.port and bound.ip in (address.ip, wildcard):
                return socket
        return None

    def _free_port(self, ip: str) -> int:
        used = {address.port for address in self.listeners.values()}
        used |= {local.port for local, _ in self._places if ip in ("", local.ip)}
        while True:
            port = self._rng.randint(*EPHEMERAL_PORTS)
            if port not in used:
                return port

    def _schedule(self) -> None:
        if not self._is_scheduled and self.is_awake:
            self._is_scheduled = True
            self._world.schedule(self._world.now, self._tell)

    def _tell(self) -> None:
        self._is_scheduled = False
        if not (self.is_awake and self.has_machine):
            return
        events = [event for event in self._noted if event.link not in self._closed]
        self._noted.clear()
        self._closed.clear()
        readable = [end for end in self._readable if end.has_more]
        self._readable.clear()
        for end in readable:
            events += end.read()
            events += self._noted  # that it has ended both ways comes behind its end
            self._noted.clear()
        if events:
            self._hand_over(events)
        for end in readable:
            if end.has_more:
                self.note_readable(end)
