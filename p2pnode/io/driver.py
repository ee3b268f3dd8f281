"""The trio shell around a DatagramMachine: it moves bytes, time and events, and decides nothing.

    one task a socket    waits for datagrams, hands the batch to the machine and drains it on the
                         spot, so that an answer costs no task switch
    one task a socket    waits while its send buffer is full
    one task             waits for any of the links, and does the same (`p2pnode.io.tcp`)
    one drain task       waits for `wake`, then drains
    one timer task       sleeps until the machine's deadline, then lets it act and drains

Rules: a drain (`drain_once`) is synchronous and complete, or leaves a wake-up behind; no drain is
longer than a turn, so that other tasks run in between.  While a socket is full the machine
is not asked for more, so that nothing piles up here.  A bug that the machine meets as it serves one
connection, stream or datagram costs that alone, and is told (`p2pnode.transports.faults`).  So an
exception out of the machine or the dispatch names none of them, and ends `run`.

Timers fire up to 1 ms late on Linux: trio waits in epoll, which counts milliseconds.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import trio

from p2pnode.clock import Instant
from p2pnode.drain import drain_once
from p2pnode.links import LinkCommand, LinkEvent, LinkMachine, LinkOutlet, WriteLink
from p2pnode.machine import (
    DatagramMachine,
    HearsUnreachable,
    Received,
    SocketId,
    Transmit,
    Unreachable,
)

MAX_TURN_BYTES = 256 * 1024
"""bytes sent before other tasks get their turn; chosen: some 180 packets, 3 ms of work"""

MANY_READS = 64
"""reads that a batch has at least where it is worth while to look for more; chosen: a full batch"""

MAX_BATCHES = 16
"""batches handed over at once; chosen: a socket's buffer of small packets, 5 ms to read"""

MAX_TURN_ROUNDS = 16
"""rounds of events and transmits in a turn; chosen: a dispatch may cause more, but not for ever"""

LEAVE_TIMEOUT = 1.0
"""seconds that full sockets have for the last words; chosen: 200 kB leave within it at 2 Mbit/s"""

EventT = TypeVar("EventT")


class UnreachableSource(Protocol):
    """Reports of datagrams that did not arrive."""

    def __len__(self) -> int: ...

    def take(self) -> list[Unreachable]:
        """Returns those since the last call; bounded."""
        ...


class DatagramSocket(Protocol):
    """What the driver needs of a socket: `p2pnode.io.udp.plain`, or a made-up one in tests."""

    @property
    def socket_id(self) -> SocketId: ...

    @property
    def unreachable(self) -> UnreachableSource: ...

    async def wait_readable(self) -> None: ...

    async def wait_writable(self) -> None: ...

    def receive_batch(self) -> list[Received]:
        """Returns what is there, bounded; empty where nothing is."""
        ...

    def send(self, transmit: Transmit) -> Transmit | None:
        """Returns what is left to send when the socket is full, or None when all is sent."""
        ...


class LinkCarrier(Protocol):
    """What the driver needs of links: `p2pnode.io.tcp.links`, or made-up ones in tests."""

    @property
    def events(self) -> list[LinkEvent]:
        """Always the same list: what the machine is to be told."""
        ...

    def take(self) -> list[LinkEvent]:
        """Returns and forgets those of `events` that the machine may be told still."""
        ...

    def carry_out(self, command: LinkCommand) -> None:
        """Does what the machine wants, without waiting."""
        ...

    async def run(self, on_events: Callable[[], None]) -> None:
        """Serves the links until it is cancelled, and calls back where there are events."""
        ...

    async def finish(self) -> None:
        """Sends what links still hold, once `run` is over."""
        ...


class _Attached:
    """A socket in use, and what it could not take."""

    __slots__ = ("became_full", "socket", "unsent")

    def __init__(self, sock: DatagramSocket) -> None:
        self.socket = sock
        self.unsent: deque[Transmit] = deque()
        self.became_full = trio.Event()


class Driver(Generic[EventT]):
    """Drives one machine over its sockets; `dispatch` takes each event and must not block.

    Everything here must be called from within trio.
    """

    def __init__(
        self, machine: DatagramMachine[EventT], dispatch: Callable[[EventT], None]
    ) -> None:
        self._machine = machine
        self._dispatch = dispatch
        self._sockets: dict[SocketId, _Attached] = {}
        self._full: dict[SocketId, _Attached] = {}
        self._unreachable: list[UnreachableSource] = []
        """Of every socket."""
        self._carrier: LinkCarrier | None = None
        self._links: LinkOutlet | None = None
        self._link_events: list[LinkEvent] = []
        """The carrier's, to see at once whether there are any."""
        self.current_time = trio.lowlevel.current_clock().current_time
        """Returns the time as trio's run has it; asked several times a drain."""
        self._nursery: trio.Nursery | None = None
        self._woken = trio.Event()
        self._sleep: trio.CancelScope | None = None
        self._is_draining = False
        self._sent_bytes = 0
        """In this turn."""

    def add_socket(self, sock: DatagramSocket) -> None:
        """Reads from the socket and sends by it from now on; also while `run` is running."""
        assert sock.socket_id not in self._sockets
        attached = self._sockets[sock.socket_id] = _Attached(sock)
        self._unreachable.append(sock.unreachable)
        if self._nursery is not None:
            self._nursery.start_soon(self._serve, attached)

    def carry_links(self, carrier: LinkCarrier) -> None:
        """Serves the machine's links from `run` on; once, and before it runs."""
        assert self._carrier is None
        assert self._nursery is None
        assert isinstance(self._machine, LinkMachine)
        self._carrier = carrier
        self._links = LinkOutlet(self._machine, self._carry_out)
        self._link_events = carrier.events

    def wake(self) -> None:
        """Must follow every change that the application makes to the machine.

        Cheap; many calls before the drain task runs make one drain.
        """
        self._woken.set()

    def drain(self) -> None:
        """Takes out and carries out what the machine has to say, at once.

        For callers that cannot wait for the drain task: before the end of `run`, or for latency.
        From inside a dispatch it does nothing, because the drain around it goes on.
        """
        if self._is_draining:
            return
        self._is_draining = True
        try:
            if not self._drain():
                self._woken.set()
        finally:
            self._is_draining = False
        sleep = self._sleep
        if sleep is not None:
            deadline = self._machine.poll_timeout()
            # A later deadline needs nothing: the timer task wakes once in vain and looks again.
            if deadline is not None and deadline.at < sleep.deadline:
                sleep.deadline = deadline.at

    async def run(self) -> None:
        """Drives the machine until it is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for attached in self._sockets.values():
                    nursery.start_soon(self._serve, attached)
                nursery.start_soon(self._keep_time)
                if self._carrier is not None:
                    nursery.start_soon(self._carrier.run, self._on_link_events)
                self._woken.set()  # commands given before
                await self._drain_when_woken()
        finally:
            self._nursery = None

    async def finish(self) -> None:
        """Carries out all that the machine still has to say, as fast as the sockets take it.

        For after `run`.  Takes LEAVE_TIMEOUT at most, and is not cut short by a cancellation.
        """
        with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
            while not self._drain() or self._full:
                await trio.lowlevel.checkpoint()
                for attached in list(self._full.values()):
                    await attached.socket.wait_writable()
                    self._send_unsent(attached)
                    if not attached.unsent:
                        del self._full[attached.socket.socket_id]
            if self._carrier is not None:
                await self._carrier.finish()

    async def _drain_when_woken(self) -> None:
        while True:
            await self._woken.wait()
            self._woken = trio.Event()  # before the drain, so that no wake is lost
            self.drain()

    async def _keep_time(self) -> None:
        machine = self._machine
        while True:
            now = self.current_time()
            deadline = machine.poll_timeout()
            if deadline is not None and deadline.at <= now:
                machine.handle_timeout(now)
                self.drain()
                deadline = machine.poll_timeout()
            at = math.inf if deadline is None else deadline.at
            with trio.CancelScope(deadline=at) as self._sleep:
                await trio.sleep_forever()
            self._sleep = None

    async def _serve(self, attached: _Attached) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, attached)
            nursery.start_soon(self._send_when_writable, attached)

    async def _receive(self, attached: _Attached) -> None:
        sock, handle_received = attached.socket, self._machine.handle_received
        while True:
            await sock.wait_readable()
            batch = sock.receive_batch()
            if len(batch) >= MANY_READS:
                self._read_on(sock, batch)
            if batch:
                handle_received(batch, self.current_time())
            if batch or sock.unreachable:
                self.drain()

    def _read_on(self, sock: DatagramSocket, batch: list[Received]) -> None:
        """Many small reads may be one peer's flood, and others' behind it in the socket's buffer.

        The machine has to see them to choose between them.
        """
        for _ in range(MAX_BATCHES - 1):
            more = sock.receive_batch()
            batch += more
            if len(more) < MANY_READS:
                return

    async def _send_when_writable(self, attached: _Attached) -> None:
        while True:
            await attached.became_full.wait()
            attached.became_full = trio.Event()
            while attached.unsent:
                await attached.socket.wait_writable()
                self._send_unsent(attached)
            if self._full.pop(attached.socket.socket_id, None) is not None:
                self.drain()

    def _drain(self) -> bool:
        """Drains within the bounds of one turn; returns False where there may be more."""
        machine, send, dispatch = self._machine, self._send, self._dispatch
        self._sent_bytes = 0
        for _ in range(MAX_TURN_ROUNDS):
            # A dispatch may have taken its time, and commanded the machine at a later one.
            now = self.current_time()
            if not (
                drain_once(machine, now, send, dispatch, links=self._links, may_send=not self._full)
                or (self._link_events and self._tell_links(now))
                or (any(self._unreachable) and self._tell_unreachable(now))
            ):
                return True
            if self._sent_bytes >= MAX_TURN_BYTES:
                return False
        return False

    def _on_link_events(self) -> None:
        self._tell_links(self.current_time())
        self.drain()

    def _tell_links(self, now: Instant) -> bool:
        """Tells the machine what happened to its links; returns whether there was anything."""
        assert self._carrier is not None
        assert self._links is not None
        events = self._carrier.take()
        if events:
            self._links.machine.handle_link_events(events, now)
        return bool(events)

    def _carry_out(self, command: LinkCommand) -> None:
        assert self._carrier is not None
        if isinstance(command, WriteLink):
            self._sent_bytes += len(command.data)
        self._carrier.carry_out(command)

    def _tell_unreachable(self, now: Instant) -> bool:
        """Tells the machine what became of what was sent; returns whether there was anything."""
        reports = list[Unreachable]()
        for source in self._unreachable:
            if source:
                reports += source.take()
        if not reports or not isinstance(self._machine, HearsUnreachable):
            return False
        self._machine.handle_unreachable(reports, now)
        return True

    def _send(self, transmit: Transmit) -> None:
        self._sent_bytes += len(transmit.buffer)
        attached = self._sockets[transmit.socket]
        if attached.unsent:
            attached.unsent.append(transmit)
            return
        rest = attached.socket.send(transmit)
        if rest is not None:
            attached.unsent.append(rest)
            attached.became_full.set()
            self._full[transmit.socket] = attached

    def _send_unsent(self, attached: _Attached) -> None:
        unsent = attached.unsent
        while unsent:
            rest = attached.socket.send(unsent[0])
            if rest is not None:
                unsent[0] = rest
                return
            unsent.popleft()
