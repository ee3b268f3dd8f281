"""What the streams of a connection report (specs/streams.md, Events).

Edge-triggered: a fact is told when it becomes true, not as long as it is.
"""

from typing import NamedTuple, TypeAlias


class StreamOpened(NamedTuple):
    """The peer opened a stream."""

    stream_id: int


class StreamReadable(NamedTuple):
    """There are bytes to read where there were none, or the end of the stream has arrived."""

    stream_id: int


class StreamWritable(NamedTuple):
    """A write was cut short before; now half of the send buffer is free again."""

    stream_id: int


class StreamFinished(NamedTuple):
    """The peer has acknowledged everything that we sent, the end included."""

    stream_id: int


class StreamResetByPeer(NamedTuple):
    """The peer gave up sending; the next read raises StreamReset."""

    stream_id: int
    code: int


class StreamStoppedByPeer(NamedTuple):
    """The peer gave up receiving; our direction is reset and writes raise StreamStopped."""

    stream_id: int
    code: int


class StreamsAvailable(NamedTuple):
    """`open` was refused before; now the peer allows more streams."""


StreamEvent: TypeAlias = (
    StreamOpened
    | StreamReadable
    | StreamWritable
    | StreamFinished
    | StreamResetByPeer
    | StreamStoppedByPeer
    | StreamsAvailable
)
