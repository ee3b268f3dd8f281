"""What is tried between two peers, each check by itself, so that one does not hide another."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from tests.interop.peers.peer import Peer, Refused, digested

SIZE = 2**20
MANY = 64
AT_ONCE = 1_000
"""bytes on each of many streams"""
HUSHED = 10_000
LATE = 8 * 2**20
"""bytes for who reads them late: more than any window at the start"""
MIN_UNREAD, MAX_UNREAD = 128 * 2**10, 3 * 2**20
"""bytes of those that may be there unread: the windows, and what it costs to keep them"""
MAX_RTT = 5.0
"""seconds, on loopback and on a machine with other work"""
SERVED_TIMEOUT = 20.0
"""seconds until the other end has noticed how a stream ended"""

PROTOCOLS = {"/ipfs/ping/1.0.0", "/p2pnode/judge/echo/1.0.0"}
"""what identify has to tell of a peer, among others"""

Check: TypeAlias = Callable[[Peer, Peer], None]
"""One peer asks another, to which it is connected; raises where it is not as it should be."""


def identify(asking: Peer, asked: Peer) -> None:
    known = asking.do("identify", id=asked.id)
    assert set(known["protocols"]) >= PROTOCOLS, known
    assert known["agent"], known


def ping(asking: Peer, asked: Peer) -> None:
    answer = asking.do("ping", id=asked.id)
    assert 0 <= answer["rtt"] < MAX_RTT, answer


def both_ways(asking: Peer, asked: Peer) -> None:
    for command in ("echo", "send", "receive"):
        answer = asking.do(command, id=asked.id, bytes=SIZE)
        assert answer == digested(SIZE), (command, answer)


def many(asking: Peer, asked: Peer) -> None:
    answer = asking.do("many", id=asked.id, streams=MANY, bytes=AT_ONCE)
    assert answer == {"streams": MANY}


def half_close(asking: Peer, asked: Peer) -> None:
    before = asked.do("served")
    asking.do("half-close", id=asked.id, bytes=HUSHED)
    served(asked, before, hushed=HUSHED, ended=1)


def reset(asking: Peer, asked: Peer) -> None:
    before = asked.do("served")
    asking.do("reset", id=asked.id)
    served(asked, before, reset=1)


def be_reset(asking: Peer, asked: Peer) -> None:
    assert asking.do("be-reset", id=asked.id) == {"reset": True}


def unread(asking: Peer, asked: Peer) -> None:
    """What is sent to who does not read waits at the sender's end, and arrives once it does.

    No cell of the table: not every library can read late.
    """
    answer = asking.do("send-late", id=asked.id, bytes=LATE)
    assert answer == digested(LATE), answer
    held = asked.do("served").get("unread")
    if held is not None:  # this library's peer tells it
        assert MIN_UNREAD <= held <= MAX_UNREAD, f"{held} bytes were sent to who did not read"


CHECKS: Mapping[str, Check] = MappingProxyType(
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

CELLS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "identify": ("identify",),
        "ping": ("ping",),
        "1 MiB both ways": ("1 MiB both ways",),
        "64 streams at once": ("64 streams at once",),
        "half-close": ("half-close",),
        "reset": ("reset", "be reset"),
    }
)
"""The checks of a cell of the table."""


def tried(asking: Peer, asked: Peer, checks: tuple[str, ...] = tuple(CHECKS)) -> dict[str, str]:
    """Returns which of the checks failed, and why."""
    failed: dict[str, str] = {}
    for name in checks:
        try:
            CHECKS[name](asking, asked)
        except (AssertionError, Refused, TimeoutError) as error:
            failed[name] = repr(error)
    return failed


def served(peer: Peer, before: Mapping[str, int], **more: int) -> None:
    """Waits until a peer says that it has served so much more than before."""
    until = time.monotonic() + SERVED_TIMEOUT
    grown: dict[str, int] = {}
    while grown != more and time.monotonic() < until:
        counts = peer.do("served")
        grown = {key: counts[key] - before[key] for key in counts if counts[key] != before[key]}
        time.sleep(0.02)
    assert grown == more, f"{peer.name} has served {grown}, not {more}"
