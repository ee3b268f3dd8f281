"""A stream joined to two file descriptors: what `p2pnode pipe` does on both sides (specs/pipe.md).

Rule: bytes go through as they are, in both directions at once; each direction ends on its own, and
an end that was not the peer's own is a failure here and a reset over there.
"""

import os
from typing import Protocol

import trio

from p2pnode.errors import ConnectionLost, ProtocolNotSupported, StreamReset, StreamStopped
from p2pnode.io.applications.peer_stream import STREAM_ERRORS, PeerStream, stream_failure
from p2pnode.io.applications.together import run_together
from p2pnode.machine import Buffer
from p2pnode.wire.byte_view import byte_view
from p2pnode.wire.reset_code import StreamResetCode

PROTOCOL_ID = "/p2pnode/pipe/1.0.0"
VERDICT_PROTOCOL_ID = "/p2pnode/pipe-verdict/1.0.0"
READY = b"\x01"
MAX_VERDICTS = 64  # streams of those whose pipe has not come yet; chosen: more than ever wait
READ_SIZE = 64 * 1024  # bytes at once; a pipe's capacity on Linux
LAST_BYTES_TIMEOUT = 30.0  # seconds for the last acknowledgement; chosen: below the idle timeout


class Source(Protocol):
    """Where the bytes for the peer come from."""

    async def read(self) -> bytes:
        """Returns some bytes, none at the end."""
        ...


class Sink(Protocol):
    """Where the peer's bytes go."""

    async def write(self, data: Buffer) -> None: ...

    async def close(self) -> None:
        """The peer has finished."""
        ...


async def begin_verdict(stream: PeerStream) -> bool:
    """Returns whether the peer gives verdicts; closes the stream where it does not.

    Raises what the stream raises.
    """
    try:
        ready = await stream.receive_some(len(READY))
    except STREAM_ERRORS as exc:
        stream.reset(StreamResetCode.NONE)
        if isinstance(stream_failure(exc), ProtocolNotSupported):
            return False
        raise
    if ready != READY:
        stream.reset(StreamResetCode.NONE)
    return ready == READY


async def join_pipe(
    stream: PeerStream, source: Source, sink: Sink, verdict: PeerStream | None = None
) -> None:
    """Carries bytes both ways until both directions have ended; closes the streams.

    On `verdict`, where there is one, each side tells the other that it has written all that came,
    or that it could not.  Raises what the streams raise, and OSError from the source or the sink.
    """

    async def carry_to_peer() -> None:
        while data := await source.read():
            await stream.send_all(data)
        await stream.send_eof()

    async def carry_from_peer() -> None:
        while data := await stream.receive_some(READ_SIZE):
            await sink.write(data)
        await sink.close()

    is_done = False
    try:
        await run_together(carry_to_peer, carry_from_peer)
        # Whose direction ended last may go next, and take what is on its way along.
        try:
            with trio.fail_after(LAST_BYTES_TIMEOUT):
                await stream.wait_delivered()
        except trio.TooSlowError as exc:
            raise trio.BrokenResourceError("the peer did not acknowledge the last bytes") from exc
        if verdict is not None:
            await _exchange_verdicts(verdict)
        is_done = True
    finally:
        both = [stream] if verdict is None else [stream, verdict]
        for one in both:
            if not is_done:
                one.reset(StreamResetCode.SHUTDOWN)
        for one in both:
            await one.aclose()


async def _exchange_verdicts(verdict: PeerStream) -> None:
    """Waits as long as the peer takes to write: its reader may be slow."""
    try:
        await verdict.send_eof()
        while await verdict.receive_some():
            pass
    except STREAM_ERRORS as exc:
        failure = stream_failure(exc)
        if isinstance(failure, StreamReset | StreamStopped):
            failed = "the peer could not write all that was sent to it"
            raise trio.BrokenResourceError(failed) from ConnectionLost(failed)
        raise


class DescriptorSource:
    """Reads a file descriptor of any kind in worker threads.

    Not with O_NONBLOCK: that flag belongs to the open file, which a terminal shares with the shell.
    A read that is cancelled goes on in its thread and takes the next input with it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def read(self) -> bytes:
        return await trio.to_thread.run_sync(os.read, self._fd, READ_SIZE, abandon_on_cancel=True)


class DescriptorSink:
    """Writes a file descriptor of any kind in worker threads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def write(self, data: Buffer) -> None:
        await trio.to_thread.run_sync(self._write, data, abandon_on_cancel=True)

    async def close(self) -> None:
        """Lets readers see the end; the descriptor's number stays taken."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._fd)
        os.close(null)
        await trio.lowlevel.checkpoint()

    def _write(self, data: Buffer) -> None:
        rest = memoryview(byte_view(data))
        while rest:
            rest = rest[os.write(self._fd, rest) :]
