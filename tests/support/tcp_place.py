"""A machine with links, on real sockets of the loopback; both it and its driver are watched."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import trio

from p2pnode.io.driver import Driver
from p2pnode.io.tcp.links import TcpLinks
from p2pnode.io.tcp.sockets import TcpListener, open_tcp_listener
from p2pnode.links import LinkEvent, LinkId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netsim.contract import Contract
from tests.support.link_machines import LinksOnly

LISTENER = SocketId(1)
PATIENCE = 20.0
"""Seconds of real time until something on the loopback counts as never."""

MachineT = TypeVar("MachineT", bound=LinksOnly)


class BrokenContractError(Exception):
    """The machine or its driver breaks the contract of machines, or the rules of links."""


class Place(Generic[MachineT]):
    """One machine, its driver, its links and its listener."""

    def __init__(self, machine: MachineT, links: TcpLinks, listener: TcpListener) -> None:
        self.machine = machine
        self.links = links
        self.listener = listener
        self.addr: SocketAddr = listener.local
        watched: Contract[LinkEvent] = Contract(machine, BrokenContractError)
        self.driver: Driver[LinkEvent] = Driver(watched, self._on_event)
        self._told = trio.Event()
        self.driver.carry_links(links)
        links.add_listener(listener)

    def drain(self) -> None:
        self.driver.drain()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Returns when the predicate holds behind some event; fails when it never does."""
        with trio.fail_after(PATIENCE):
            while not predicate():
                self._told = trio.Event()
                with trio.move_on_after(0.1):  # what is no event, a command for example
                    await self._told.wait()

    async def until_empty(self) -> None:
        """Returns when no link has a socket here any more."""
        with trio.fail_after(PATIENCE):
            while len(self.links):  # noqa: ASYNC110 - no event tells it
                await trio.sleep(0.01)

    async def accepted(self) -> LinkId:
        """Returns the first link that somebody has made to here."""
        odd = self.machine.told
        await self.until(lambda: any(event.link % 2 for event in odd))
        return next(event.link for event in odd if event.link % 2)

    def _on_event(self, event: LinkEvent) -> None:
        self._told.set()


@asynccontextmanager
async def place(
    machine: MachineT, links: TcpLinks | None = None, ip: str = "127.0.0.1"
) -> AsyncIterator[Place[MachineT]]:
    """Yields a machine that is driven, and listens."""
    listener = open_tcp_listener(SocketAddr(ip, 0), LISTENER)
    found = Place(machine, TcpLinks() if links is None else links, listener)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.driver.run)
            yield found
            nursery.cancel_scope.cancel()
    finally:
        found.links.close()
        listener.close()
