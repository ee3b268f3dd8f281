"""A stream to a peer as trio knows streams: `trio.abc.HalfCloseableStream`.

Rules: what can be done at once is done without waiting; packets with data leave before the call
returns, ends of streams a turn later, so that those of many streams share one; back-pressure is the
peer's flow control.  A send that was cut short cannot be
taken for a whole one: the stream then ends by a reset, never by an end of data.
"""

from contextlib import suppress
from typing import Final, Protocol

import trio

from p2pnode.errors import LocalProtocolError, P2PNodeError, PeerBusy, ProtocolNotSupported
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.node.arguments import MAX_CODE, check_number
from p2pnode.io.node.connection_info import ConnectionInfo
from p2pnode.machine import Buffer
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.wire.byte_view import byte_view
from p2pnode.wire.reset_code import StreamResetCode

MAX_READ: Final = 256 * 1024
"""bytes returned at once unless the caller says otherwise; chosen: as much as one batch of
datagrams brings, so that a bulk reader costs one task switch a batch"""

DELIVERY_CHECK_INTERVAL: Final = 0.01
"""seconds between looks at whether all was acknowledged; chosen"""


async def wait_delivered(stream: SwarmStream) -> None:
    """Returns once the peer has acknowledged all that was written, the end included.

    Raises what `SwarmStream.check_deliverable` does.  Cancel-safe.
    """
    while not stream.is_delivered:
        stream.check_deliverable()
        await trio.sleep(DELIVERY_CHECK_INTERVAL)


_CUT = "an earlier send was cut short; the stream can only be closed"


class StreamHost(Protocol):
    """What a stream needs of its node."""

    def drain(self) -> None:
        """Sends what there is to send, at once."""
        ...

    def wake(self) -> None:
        """Lets that happen soon."""
        ...

    def release(self, stream: SwarmStream) -> None:
        """The stream was closed: what was written is still delivered."""
        ...

    def reset(self, stream: SwarmStream, code: int) -> None:
        """The stream was given up."""
        ...

    def connection_info(self, stream: SwarmStream) -> ConnectionInfo | None:
        """Returns None where the connection is forgotten."""
        ...


class Stream(trio.abc.HalfCloseableStream):
    """Bytes to and from a peer, in order; made by a Node.

    One task may send while another receives; more raise trio.BusyResourceError.  Methods raise
    trio.BrokenResourceError from StreamReset, StreamStopped or ConnectionLost,
    trio.ClosedResourceError after `aclose`, ProtocolNotSupported where the peer turns out not to
    speak the protocol, and PeerBusy where it takes no more streams of it now.
    """

    def __init__(
        self, swarm_stream: SwarmStream, host: StreamHost, protocol: str, info: ConnectionInfo
    ) -> None:
        self.protocol = protocol
        """The protocol id; the only one proposed, or the one that was agreed on."""
        self._stream = swarm_stream
        self._host = host
        self._info = info
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        self._is_receiving = False
        self._is_sending = False
        self._receive_failure: P2PNodeError | None = None
        self._is_full = False
        """A write was cut short; the swarm reports when there is room."""
        self._is_cut = False
        """Some bytes of a `send_all` were taken and the others were not, so far."""
        self._is_finished = False
        self._is_closed = False

    @property
    def peer_id(self) -> PeerId:
        return self._stream.peer_id

    @property
    def connection_info(self) -> ConnectionInfo:
        """Which way the stream's packets go; of a lost connection, what was known last."""
        info = self._host.connection_info(self._stream)
        if info is not None:
            self._info = info
        return self._info

    def __repr__(self) -> str:
        return f"<Stream {self.protocol!r} with {self.peer_id}>"

    async def wait_negotiated(self) -> None:
        """Returns once both sides agree on a protocol.

        Raises as `receive_some` does; where it raises or is cancelled, the stream is reset.
        """
        try:
            while not self._stream.is_negotiated:
                await self._writable.park()
                self._stream.write(b"")
        except P2PNodeError as exc:
            self.reset()
            raise _as_trio(exc) from exc
        except trio.Cancelled:
            self.reset()
            raise
        self.protocol = self._stream.protocol or self.protocol

    # receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Returns some bytes, at most `max_bytes`, or b"" at the end.  Cancel-safe."""
        if max_bytes is None:
            max_bytes = MAX_READ
        elif type(max_bytes) is not int:
            raise TypeError("max_bytes must be an integer")
        elif max_bytes < 1:
            raise ValueError("max_bytes must be above zero")
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._is_receiving = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                data = self._read(max_bytes)
            except BaseException:
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise
            if data is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            while data is None:
                await self._readable.park()
                data = self._read(max_bytes)
            return data
        finally:
            self._is_receiving = False

    def _read(self, max_bytes: int) -> bytes | None:
        """Returns None where neither bytes nor the end are there yet."""
        if self._is_closed:
            raise trio.ClosedResourceError("this stream was closed")
        failure = self._receive_failure
        if failure is None:
            try:
                data = self._stream.read(max_bytes)
            except P2PNodeError as exc:
                self._receive_failure = failure = exc
            else:
                if data:
                    if self._stream.has_pending:
                        self._host.wake()  # the peer may wait for the room that was made
                    return data
                return b"" if self._stream.at_eof else None
        raise _as_trio(failure) from failure

    # sending

    async def send_all(self, data: Buffer) -> None:
        """Returns once everything has a place in the send buffer and is on its way.

        `data` is anything bytes-like and contiguous, else this raises TypeError.  A cancelled call
        may have sent a part, after which the stream is only good for `aclose`.
        """
        if type(data) is not bytes:
            data = byte_view(data)
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                taken = self._write(data)
            except BaseException:
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise
            if taken < len(data):
                await self._send_rest(memoryview(data)[taken:], is_begun=taken > 0)
            else:
                self._host.drain()
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._is_sending = False

    async def _send_rest(self, rest: memoryview, *, is_begun: bool) -> None:
        self._is_cut = is_begun
        while rest:
            self._is_full = True
            self._host.drain()
            while self._is_full and not self._is_closed:
                await self._writable.park()
            taken = self._write(rest, is_resumed=True)
            self._is_cut = self._is_cut or taken > 0
            rest = rest[taken:]
        self._is_cut = False
        self._host.drain()

    async def wait_send_all_might_not_block(self) -> None:
        """Returns when `send_all` would take something, or raise.  Cancel-safe."""
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while self._is_full and not self._is_closed:
                await self._writable.park()
            self._check_sendable()
        finally:
            self._is_sending = False

    async def send_eof(self) -> None:
        """Ends our direction behind what was sent; the peer's goes on."""
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self._is_finished or self._is_closed:
                try:
                    self._check_sendable()
                    self._finish()
                except BaseException:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    raise
                self._host.wake()
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._is_sending = False

    async def wait_delivered(self) -> None:
        """Returns once the peer has acknowledged all that was sent.

        To be called after `send_eof`.  Raises trio.BrokenResourceError, from what it was, where the
        peer will never have it all.  Cancel-safe.
        """
        await trio.lowlevel.checkpoint()
        if not self._is_finished:
            raise LocalProtocolError("the end was not sent yet: send_eof comes first")
        try:
            await wait_delivered(self._stream)
        except P2PNodeError as exc:
            raise _as_trio(exc) from exc

    def _begin_sending(self) -> None:
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending to this stream")
        self._is_sending = True

    def _check_sendable(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._is_finished:
            raise trio.ClosedResourceError("the end was sent already")
        if self._is_cut:
            raise trio.BrokenResourceError(_CUT)

    def _write(self, data: Buffer, *, is_resumed: bool = False) -> int:
        if not is_resumed or self._is_closed:
            self._check_sendable()
        try:
            return self._stream.write(data)
        except P2PNodeError as exc:
            raise _as_trio(exc) from exc

    def _finish(self) -> None:
        try:
            self._stream.finish()
        except P2PNodeError as exc:
            raise _as_trio(exc) from exc
        self._is_finished = True

    # the end

    async def aclose(self) -> None:
        """Ends our direction and gives up the peer's.  Does not wait for anything.

        What was sent is still delivered while the node is open; who must know that it was, sends
        the end and receives the peer's.  A cancelled call resets the stream.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            self.reset()
            raise
        self._close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def reset(self, code: int = StreamResetCode.NONE) -> None:
        """Gives up both directions at once: the peer sees a failure, not the end of the data.

        Does nothing for a closed stream.
        """
        check_number("code", code, least=0, most=MAX_CODE)
        if self._mark_closed():
            self._host.reset(self._stream, code)
            self._host.wake()

    def _close(self) -> None:
        if self._is_cut:
            self.reset()
        if not self._mark_closed():
            return
        if not self._is_finished:
            with suppress(P2PNodeError):  # the direction is over already
                self._stream.finish()
        self._host.release(self._stream)
        self._host.wake()

    def _mark_closed(self) -> bool:
        """Returns False where it was closed before."""
        if self._is_closed:
            return False
        self._is_closed = True
        self._readable.unpark_all()
        self._writable.unpark_all()
        return True

    # from the node

    def on_readable(self) -> None:
        self._readable.unpark_all()

    def on_writable(self) -> None:
        self._is_full = False
        self._writable.unpark_all()

    def on_path_changed(self, info: ConnectionInfo) -> None:
        # Kept, because the connection may be forgotten before anybody asks.
        self._info = info


def _as_trio(failure: P2PNodeError) -> Exception:
    """Returns what a trio stream raises for a failure; to be raised from it."""
    if isinstance(failure, ProtocolNotSupported):
        return ProtocolNotSupported(failure.protocols)
    if isinstance(failure, PeerBusy):
        return PeerBusy(failure.protocols)
    return trio.BrokenResourceError(str(failure))
