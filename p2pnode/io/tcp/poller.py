"""Which of many sockets can be read or written: asked once for all of them.

One selector (epoll, kqueue) has all sockets, and trio waits for the selector.  So thousands of idle
links cost no tasks, what became ready together is served together and drained once, and a link is
closed without waking anybody.  Where a selector is no file (Windows), `TaskPoller` has a task for
each socket that something is wanted of.
"""

import selectors
import socket
from collections.abc import Hashable
from typing import Any, Final, NamedTuple, Protocol

import trio

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


class Ready(NamedTuple):
    """A socket, by its key, that can be read, written, or both."""

    key: Any
    events: int


class Poller(Protocol):
    """Sockets of which something is wanted."""

    def start(self, nursery: trio.Nursery) -> None:
        """Must come before `wait`; what it starts ends with the nursery."""
        ...

    def stop(self) -> None:
        """Nobody waits any more, and the nursery takes no further task."""
        ...

    def watch(self, sock: socket.socket, key: Hashable, events: int) -> None:
        """Waits for these events from now on, READ | WRITE; none is 0."""
        ...

    def forget(self, sock: socket.socket, key: Hashable) -> None:
        """Must come before the socket is closed."""
        ...

    async def wait(self) -> list[Ready]:
        """Returns what is ready, once something is; it may be ready no more.  Cancel-safe."""
        ...

    def close(self) -> None: ...


def make_poller() -> Poller:
    """Returns the poller of this platform."""
    selector = selectors.DefaultSelector()
    if hasattr(selector, "fileno"):
        return SelectorPoller(selector)
    selector.close()
    return TaskPoller()


class SelectorPoller:
    """Waits for a selector that is a file."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._fileno: int = selector.fileno()  # type: ignore[attr-defined]
        self._watched: dict[Hashable, int] = {}

    def start(self, nursery: trio.Nursery) -> None:
        del nursery

    def stop(self) -> None:
        pass

    def watch(self, sock: socket.socket, key: Hashable, events: int) -> None:
        before = self._watched.get(key, 0)
        if events == before:
            return
        if not events:
            self.forget(sock, key)
            return
        self._watched[key] = events
        if before:
            self._selector.modify(sock, events, key)
        else:
            self._selector.register(sock, events, key)

    def forget(self, sock: socket.socket, key: Hashable) -> None:
        if self._watched.pop(key, 0):
            self._selector.unregister(sock)

    async def wait(self) -> list[Ready]:
        await trio.lowlevel.wait_readable(self._fileno)
        return [Ready(key.data, events) for key, events in self._selector.select(0)]

    def close(self) -> None:
        self._selector.close()


class TaskPoller:
    """Has a task wait for each socket and direction."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._watched: dict[Hashable, tuple[socket.socket, int]] = {}
        self._waiting: dict[tuple[Hashable, int], None] = {}
        self._ready: dict[Hashable, int] = {}
        self._is_ready = trio.Event()
        self._served = trio.Event()

    def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        for key, (sock, events) in self._watched.items():
            self._start_waiting(sock, key, events)

    def stop(self) -> None:
        self._nursery = None

    def watch(self, sock: socket.socket, key: Hashable, events: int) -> None:
        if not events:
            self._watched.pop(key, None)
            return
        self._watched[key] = sock, events
        self._start_waiting(sock, key, events)

    def forget(self, sock: socket.socket, key: Hashable) -> None:
        self._watched.pop(key, None)
        if any((key, direction) in self._waiting for direction in (READ, WRITE)):
            trio.lowlevel.notify_closing(sock)

    async def wait(self) -> list[Ready]:
        self._served.set()
        self._served = trio.Event()
        await self._is_ready.wait()
        self._is_ready = trio.Event()
        ready, self._ready = self._ready, {}
        return [Ready(key, events) for key, events in ready.items()]

    def close(self) -> None:
        self._watched.clear()

    def _start_waiting(self, sock: socket.socket, key: Hashable, events: int) -> None:
        for direction in (READ, WRITE):
            if events & direction and (key, direction) not in self._waiting and self._nursery:
                self._waiting[key, direction] = None
                self._nursery.start_soon(self._wait, sock, key, direction)

    async def _wait(self, sock: socket.socket, key: Hashable, direction: int) -> None:
        wait = trio.lowlevel.wait_readable if direction == READ else trio.lowlevel.wait_writable
        try:
            while self._wants(key, direction):
                await wait(sock)
                if self._wants(key, direction):
                    self._ready[key] = self._ready.get(key, 0) | direction
                    self._is_ready.set()
                    await self._served.wait()  # or it would be found ready again at once
        except trio.ClosedResourceError:
            pass  # forgotten meanwhile
        finally:
            del self._waiting[key, direction]

    def _wants(self, key: Hashable, direction: int) -> bool:
        return bool(self._watched.get(key, (None, 0))[1] & direction)
