"""What the official libraries cannot do by themselves, whoever they talk to.

A check that fails for one of these reasons has to fail: when the library can do it, the row goes.
"""

from typing import NamedTuple


class Limit(NamedTuple):
    """What does not work with a library over a transport."""

    library: str
    transport: str
    asking: frozenset[str]
    """Checks that fail where the library asks."""
    asked: frozenset[str]
    """Those that fail where it is asked."""
    reason: str
    upstream: str
    """Where that is known."""
    is_certain: bool = True
    """False where it depends on which packet comes first."""
    with_itself: bool = True
    """False where two peers on the library get on, but for chance."""


LIMITS = (
    Limit(
        "js",
        "tcp",
        asking=frozenset(),
        asked=frozenset({"unread"}),
        reason="credit is given for what nobody has read, and the stream given up above 4 MiB",
        upstream="@libp2p/utils 7.4.1, dist/src/abstract-message-stream.js",
    ),
    Limit(
        "rust",
        "quic-v1",
        asking=frozenset({"reset"}),
        asked=frozenset({"be reset"}),
        reason="a stream can only be dropped, and quinn finishes what is dropped",
        upstream="https://github.com/quinn-rs/quinn/pull/2411",
        with_itself=False,  # where its STOP_SENDING comes first
    ),
    Limit(
        "js",
        "quic-v1",
        asking=frozenset({"be reset"}),
        asked=frozenset({"reset"}),
        reason="a reset that comes is read as an end",
        upstream="@chainsafe/libp2p-quic 2.1.1, dist/src/stream.js, readFromStream",
    ),
    Limit(
        "js",
        "quic-v1",
        asking=frozenset(),
        asked=frozenset({"unread"}),
        reason="credit is given for what nobody has read, and the stream given up above 4 MiB",
        upstream="@libp2p/utils 7.4.1, dist/src/abstract-message-stream.js",
    ),
    Limit(
        "py",
        "quic-v1",
        asking=frozenset(),
        asked=frozenset({"unread"}),
        reason="who reads late reads no more once the first windows are used up",
        upstream="libp2p 0.8.1, transport/quic/stream.py",
    ),
    Limit(
        "py",
        "quic-v1",
        asking=frozenset({"identify", "be reset"}),
        asked=frozenset({"reset"}),
        reason="a STOP_SENDING is taken for the end of the stream, ahead of an answer or a reset",
        upstream="libp2p 0.8.1, transport/quic/stream.py, handle_stop_sending",
        is_certain=False,
    ),
)


def failing(asking: str, asked: str, transport: str, *, is_certain: bool) -> dict[str, Limit]:
    """Returns the checks that have to fail between two libraries, or that may, and why."""
    found: dict[str, Limit] = {}
    for limit in LIMITS:
        is_itself = asking == asked == limit.library
        certain = limit.is_certain and (limit.with_itself or not is_itself)
        if limit.transport != transport or certain != is_certain:
            continue
        for library, checks in ((asking, limit.asking), (asked, limit.asked)):
            if library == limit.library:
                found |= dict.fromkeys(checks, limit)
    return found
