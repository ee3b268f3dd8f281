"""Nodes behind the kernel's NATs: who runs where, and what they have printed so far.

    with TestBed() as bed:
        async with (
            running_node(bed.add_site("relay"), homes, "relay") as relay,
            running_node(bed.add_site("a", FULL_CONE), homes, "run", *relay.bootstrap) as a,
        ):
            await a.event("reservation")

Rule: what a node prints is read at once and kept with the time, so that a test may ask for it late.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.testbed import NatKind, Site, TestBed
from tests.netns.program import (
    ANSWER_TIMEOUT,
    THIS_BUILD,
    Build,
    Line,
    Running,
    address_at,
    running,
)

MAX_SHOWN = 30  # lines of a node that did not do what was expected


class Printed(NamedTuple):
    """A line, and when it came in seconds after the start of the process."""

    at: float
    line: Line


class Watched:
    """A command that goes on, with all that it has printed."""

    def __init__(self, name: str, program: Running) -> None:
        self.name = name
        self.program = program
        self.printed: list[Printed] = []
        self.start = trio.current_time()
        self._news = trio.Event()
        self._has_ended = False

    def events(self, name: str, *, after: float = 0.0, **fields: object) -> list[Printed]:
        """Returns those printed so far that have these fields, at or after a time."""
        wanted = {"event": name, **fields}
        return [p for p in self.printed if p.at >= after and wanted.items() <= p.line.items()]

    async def event(
        self, name: str, *, within: float = ANSWER_TIMEOUT, after: float = 0.0, **fields: object
    ) -> Printed:
        """Returns the first of them, also one to come; fails where none comes in that time."""

        def found() -> list[Printed]:
            return self.events(name, after=after, **fields)

        await self.until(lambda: bool(found()), within, f"{name} {fields}")
        return found()[0]

    async def until(self, holds: Callable[[], bool], within: float, what: str) -> None:
        """Waits for lines until something holds of them; fails where it takes longer."""
        with trio.move_on_after(within):
            while not holds():
                if self._has_ended:
                    break
                await self._news.wait()
            else:
                return
        raise AssertionError(f"{self.name}: no {what} within {within} s\n{self._shown()}")

    def elapsed(self) -> float:
        """Returns the seconds since the start of the process."""
        return trio.current_time() - self.start

    async def read(self) -> None:
        """Keeps what it prints, to its end."""
        while (line := await self.program.next_line()) is not None:
            self.printed.append(Printed(self.elapsed(), line))
            self._tell()
        self._has_ended = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _shown(self) -> str:
        return "\n".join(f"{p.at:.3f} {p.line}"[:400] for p in self.printed[-MAX_SHOWN:])


class RunningNode(Watched):
    """A node at the first host of a site."""

    def __init__(self, site: Site, home: Path, program: Running) -> None:
        super().__init__(site.name, program)
        self.site = site
        self.home = home
        self.peer_id = ""
        self.address = ""
        """Where it listens, under the IP that it knows itself: of use where that is public."""

    @property
    def bootstrap(self) -> tuple[str, str]:
        """What another node is told to begin with this one."""
        return "--bootstrap", self.address

    def announced(self, line: Line) -> None:
        """Takes its id and address from its first line."""
        self.address = address_at(line, *self.site.host_ips)
        self.peer_id = self.address.rpartition("/")[2]


@asynccontextmanager
async def running_node(
    site: Site, homes: Path, command: str, *arguments: str, build: Build = THIS_BUILD
) -> AsyncGenerator[RunningNode, None]:
    """Yields the node once it listens; it is gone afterwards.

    Its data folder is the site's, so that it is the same peer when it is started again.
    """
    home = homes / site.name
    async with (
        running(site.host, home, command, *arguments, build=build) as program,
        trio.open_nursery() as nursery,
    ):
        node = RunningNode(site, home, program)
        nursery.start_soon(node.read)
        first = await node.event("listening" if command == "receive" else "started")
        node.announced(first.line)
        yield node
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def public_peers(
    bed: TestBed, homes: Path, *, build: Build = THIS_BUILD
) -> AsyncGenerator[tuple[str, str], None]:
    """Yields how others begin with a relay that knows two other public peers."""
    async with running_node(bed.add_site("relay"), homes, "relay", build=build) as relay:
        begin = relay.bootstrap
        second, third = (
            running_node(bed.add_site(name), homes, "run", *begin, build=build)
            for name in ("second", "third")
        )
        async with second, third:
            yield begin


@asynccontextmanager
async def command_at(
    site: Site, home: Path, *arguments: str, build: Build = THIS_BUILD
) -> AsyncGenerator[Watched, None]:
    """Yields a command at the first host of a site; through the node there, if one is on `home`."""
    async with (
        running(site.host, home, *arguments, build=build) as program,
        trio.open_nursery() as nursery,
    ):
        watched = Watched(f"{arguments[0]} at {site.name}", program)
        nursery.start_soon(watched.read)
        yield watched
        nursery.cancel_scope.cancel()


def pongs(pinging: Watched, **fields: object) -> list[Printed]:
    """Returns those that `ping` has printed so far and that have these fields."""
    return [
        p
        for p in pinging.printed
        if p.line.get("rtt_ms") is not None and fields.items() <= p.line.items()
    ]


def is_punchable(one: NatKind, other: NatKind) -> bool:
    """Whether both ends can punch when each knows only what a third party saw of the other.

    Not where one side's external port is another one for each remote, so that nobody can tell it
    beforehand, and the other side lets in only the very address and port that it has sent to.
    """

    def is_unpredictable(kind: NatKind) -> bool:
        return kind.mapping is not None and kind.mapping is not Dependence.ENDPOINT_INDEPENDENT

    def is_strict(kind: NatKind) -> bool:
        return kind.filtering is Dependence.ADDRESS_AND_PORT_DEPENDENT

    if not (one.udp and other.udp):
        return False
    return not (
        (is_unpredictable(one) and is_strict(other)) or (is_unpredictable(other) and is_strict(one))
    )
