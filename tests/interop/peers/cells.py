"""What is tried between two peers, each cell by itself, so that one does not hide another."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import trio

from tests.interop.peers.peer import Peer, Refused, digested

SIZE = 2**20
MANY = 64
AT_ONCE = 1_000
"""bytes on each of many streams"""
HUSHED = 10_000
MAX_RTT = 5.0
"""seconds, on loopback and on a machine with other work"""
SERVED_TIMEOUT = 5.0
"""seconds until the other end has noticed how a stream ended"""

PROTOCOLS = {"/ipfs/ping/1.0.0", "/p2pnode/judge/echo/1.0.0"}
"""what identify has to tell of a peer, among others"""


async def identify(asking: Peer, asked: Peer) -> None:
    known = await asking.do("identify", id=asked.id)
    assert set(known["protocols"]) >= PROTOCOLS, known
    assert known["agent"], known


async def ping(asking: Peer, asked: Peer) -> None:
    answer = await asking.do("ping", id=asked.id)
    assert 0 <= answer["rtt"] < MAX_RTT, answer


async def both_ways(asking: Peer, asked: Peer) -> None:
    for command in ("echo", "send", "receive"):
        answer = await asking.do(command, id=asked.id, bytes=SIZE)
        assert answer == digested(SIZE), (command, answer)


async def many(asking: Peer, asked: Peer) -> None:
    answer = await asking.do("many", id=asked.id, streams=MANY, bytes=AT_ONCE)
    assert answer == {"streams": MANY}


async def half_close(asking: Peer, asked: Peer) -> None:
    before = await asked.do("served")
    await asking.do("half-close", id=asked.id, bytes=HUSHED)
    await served(asked, before, hushed=HUSHED, ended=1)


async def reset(asking: Peer, asked: Peer) -> None:
    before = await asked.do("served")
    await asking.do("reset", id=asked.id)
    await served(asked, before, reset=1)


async def be_reset(asking: Peer, asked: Peer) -> None:
    assert await asking.do("be-reset", id=asked.id) == {"reset": True}


CELLS: Mapping[str, Callable[[Peer, Peer], Awaitable[None]]] = MappingProxyType(
    {
        "identify": identify,
        "ping": ping,
        "1 MiB both ways": both_ways,
        "64 streams at once": many,
        "half-close": half_close,
        "reset": reset,
        "be reset": be_reset,
    }
)


async def tried(asking: Peer, asked: Peer) -> dict[str, str]:
    """Returns what of the cells did not work, and why."""
    failed: dict[str, str] = {}
    for name, cell in CELLS.items():
        try:
            await cell(asking, asked)
        except (AssertionError, Refused, trio.TooSlowError) as error:
            failed[name] = repr(error)
    return failed


async def served(peer: Peer, before: Mapping[str, int], **more: int) -> None:
    """Waits until a peer says that it has served so much more than before."""
    grown: dict[str, int] = {}
    with trio.move_on_after(SERVED_TIMEOUT):
        while grown != more:
            counts = await peer.do("served")
            grown = {key: counts[key] - before[key] for key in counts if counts[key] != before[key]}
            await trio.sleep(0.02)
    assert grown == more, f"{peer.name} has served {grown}, not {more}"
