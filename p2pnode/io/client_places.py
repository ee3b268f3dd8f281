"""A few places for the clients of a local server, and which client gives its up when they are full.

Rule: who asks is served.  A client that has asked for nothing costs nothing but its place, so the
newest takes that of the oldest such; one that is being answered keeps it.
"""

import enum
import errno
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

ACCEPT_RETRY: Final = 0.1
"""seconds to wait while the process has too many open files; trio's own servers wait so long"""
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Standing(enum.IntEnum):
    """What a client would lose with its place; the one with least gives way."""

    SILENT = 0
    """It has asked for nothing yet."""
    ANSWERED = 1
    """It has its answer, and has only to close."""
    BUSY = 2
    """It is being answered."""


class ClientPlace:
    """One client's place."""

    def __init__(self, places: "ClientPlaces") -> None:
        self.scope = trio.CancelScope()
        """Of all that is done for the client; cancelled when its place is taken."""
        self._places = places
        self._standing = Standing.SILENT

    @property
    def standing(self) -> Standing:
        return self._standing

    @standing.setter
    def standing(self, standing: Standing) -> None:
        self._standing = standing
        self._places.on_change()


class ClientPlaces:
    """The places of one server."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: list[ClientPlace] = []
        """The oldest first."""
        self._changes = trio.lowlevel.ParkingLot()

    async def take(self) -> ClientPlace:
        """Returns a place, if need be another's; waits while all are BUSY.  Cancel-safe."""
        await trio.lowlevel.checkpoint()
        while len(self._taken) >= self._size:
            first = min(self._taken, key=lambda place: place.standing)
            if first.standing is not Standing.BUSY:
                first.scope.cancel()
                self._taken.remove(first)
                break
            await self._changes.park()
        place = ClientPlace(self)
        self._taken.append(place)
        return place

    def release(self, place: ClientPlace) -> None:
        """Does nothing where it was taken away before."""
        if place in self._taken:
            self._taken.remove(place)
            self.on_change()

    def on_change(self) -> None:
        """Somebody who waits may find a place now."""
        self._changes.unpark_all()


Serve: TypeAlias = Callable[[trio.SocketStream, ClientPlace], Awaitable[None]]


async def serve_clients(listener: trio.SocketListener, size: int, serve: Serve) -> None:
    """Runs `serve`, in a task of its own, for at most `size` clients at once; never returns.

    It tells of the client through its place.  The stream is closed when it ends.
    """
    places = ClientPlaces(size)

    async def run(stream: trio.SocketStream, place: ClientPlace) -> None:
        try:
            with place.scope:
                await serve(stream, place)
        finally:
            places.release(place)
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        while True:
            stream = await _accept(listener)
            try:
                place = await places.take()
            except BaseException:
                stream.socket.close()
                raise
            nursery.start_soon(run, stream, place)


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError as exc:
            if exc.errno not in _OUT_OF_FILES:
                raise
            await trio.sleep(ACCEPT_RETRY)
