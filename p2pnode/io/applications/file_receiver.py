"""The receiving end of file transfers (specs/file_transfer.md).

Rule: a file is either in the folder, whole and checked, or nothing is left of it; and a sender
whose file was not taken is told why, in words that give nothing of this machine away.  An offer
that is refused and a transfer that fails are nothing to the others.
"""

import errno
import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from p2pnode.errors import DecodeError
from p2pnode.io.applications.file_name import safe_file_name
from p2pnode.io.applications.file_transfer import (
    BLOCK_SIZE,
    DRAIN_TIMEOUT,
    OFFER_TIMEOUT,
    PROMISE_TIMEOUT,
    STALL_TIMEOUT,
    MessageReader,
    TransferError,
    Transferred,
)
from p2pnode.io.applications.incoming_file import IncomingFile
from p2pnode.io.applications.peer_stream import (
    STREAM_ERRORS,
    NodeStream,
    PeerStream,
    stream_failure,
)
from p2pnode.protocols.file_transfer.messages import (
    Reply,
    TransferStatus,
    decode_digest_untrusted,
    decode_offer_untrusted,
    encode_reply,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.reset_code import StreamResetCode

MAX_TRANSFERS = 8  # at once; chosen: more only share one disk and one line


@dataclass(frozen=True, slots=True, eq=False)
class IncomingTransfer:
    """An offer that was accepted.  Equal only to itself: two peers may offer the same."""

    name: str
    """The file's name, made safe; the file may get a number behind it."""
    offered: str
    """As the sender calls it: not safe as a path, nor on a terminal."""
    size: int
    """Bytes."""
    stream: NodeStream


class TransferObserver(Protocol):
    """A listener that wants to know how transfers go."""

    def handle_started(self, transfer: IncomingTransfer) -> None: ...

    def handle_progress(self, transfer: IncomingTransfer, received: int) -> None: ...

    def handle_received(
        self, transfer: IncomingTransfer, path: Path, transferred: Transferred
    ) -> None:
        """The file is in the folder, and the sender has heard so if it is still there."""
        ...

    def handle_failed(self, transfer: IncomingTransfer | None, failure: TransferError) -> None:
        """Nothing is left of the file, if any of it came; there is no transfer where no good offer
        was made, and one that was not started where it was refused."""
        ...


class _Refusal(TransferError):
    """A transfer that ends with this reply to the sender; the text is for our own user."""

    def __init__(
        self,
        status: TransferStatus,
        reason: str,
        text: str | None = None,
        transfer: IncomingTransfer | None = None,
    ) -> None:
        super().__init__(text or reason)
        self.reply = Reply(status, reason)
        self.transfer = transfer


class FileReceiver:
    """Takes files into a folder, several at once; `handle` is the protocol's handler."""

    def __init__(
        self,
        folder: Path,
        observer: TransferObserver,
        *,
        max_transfers: int = MAX_TRANSFERS,
        free_space: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """`free_space` tells the bytes that the folder's disk can take; it may raise OSError."""
        self._free_space = free_space
        self._folder = folder
        self._observer = observer
        self._max_transfers = max_transfers
        self._running: list[_Receiving] = []
        self._idle = trio.Event()
        self._idle.set()

    @property
    def is_receiving(self) -> bool:
        """True while a sender has our consent and its file is not whole."""
        return bool(self._running)

    async def wait_idle(self) -> None:
        """Returns when no transfer is running; the senders of all have heard how theirs ended."""
        await self._idle.wait()

    async def handle(self, stream: NodeStream) -> None:
        """Takes one file from a stream, and closes the stream."""
        report: Callable[[], None] | None = None
        is_done = False
        try:
            try:
                receiving = await self._negotiate(stream)
            except _Refusal as exc:
                report = functools.partial(self._observer.handle_failed, exc.transfer, exc)
                await _conclude(stream, exc.reply)
            else:
                reply, report = await self._receive(receiving)
                await _conclude(stream, reply)
            is_done = True
        except STREAM_ERRORS as exc:
            gone = TransferError(f"the sender is gone: {stream_failure(exc)}")
            report = report or functools.partial(self._observer.handle_failed, None, gone)
        finally:
            if not is_done:
                stream.reset(StreamResetCode.SHUTDOWN)
            if report is not None:
                report()
            await stream.aclose()

    async def _negotiate(self, stream: NodeStream) -> "_Receiving":
        """Returns what was agreed on.  Raises _Refusal."""
        messages = MessageReader(stream)
        try:
            with trio.fail_after(OFFER_TIMEOUT):
                offer = decode_offer_untrusted(await messages.next_message())
        except DecodeError as exc:
            raise _Refusal(TransferStatus.BAD_MESSAGE, str(exc)) from exc
        except trio.TooSlowError as exc:
            raise _Refusal(TransferStatus.TIMED_OUT, "no offer came in time") from exc
        transfer = IncomingTransfer(safe_file_name(offer.name), offer.name, offer.size, stream)
        if len(self._running) >= self._max_transfers:
            reason = "it is busy with other files; try again later"
            text = f"{len(self._running)} others were on their way"
            raise _Refusal(TransferStatus.BUSY, reason, text, transfer)
        return _Receiving(transfer, messages, self._create(transfer), self._observer)

    def _create(self, transfer: IncomingTransfer) -> IncomingFile:
        """Raises _Refusal where the disk cannot take it beside what is kept for the others."""
        promised = sum(receiving.promised() for receiving in self._running)
        try:
            if transfer.size > self._free_space(self._folder) - promised:
                raise OSError(errno.ENOSPC, "not enough space")
            return IncomingFile(self._folder)
        except OSError as exc:
            raise _disk_refusal(exc, transfer) from exc

    async def _receive(self, receiving: "_Receiving") -> tuple[Reply, Callable[[], None]]:
        """Returns what to tell the sender, and how to tell our observer."""
        transfer = receiving.transfer
        self._running.append(receiving)
        try:
            self._observer.handle_started(transfer)
            path, transferred = await receiving.run()
        except _Refusal as exc:
            return exc.reply, functools.partial(self._observer.handle_failed, transfer, exc)
        except STREAM_ERRORS as exc:
            gone = TransferError(f"the sender is gone: {stream_failure(exc)}")
            reply = Reply(TransferStatus.BAD_MESSAGE, str(gone))
            return reply, functools.partial(self._observer.handle_failed, transfer, gone)
        finally:
            self._running.remove(receiving)
            receiving.file.discard()
        done = functools.partial(self._observer.handle_received, transfer, path, transferred)
        return Reply(TransferStatus.OK), done


class _Receiving:
    """One transfer, from our consent to the file under its name."""

    def __init__(
        self,
        transfer: IncomingTransfer,
        messages: MessageReader,
        file: IncomingFile,
        observer: TransferObserver,
    ) -> None:
        self.transfer = transfer
        self.file = file
        self.remaining = transfer.size
        """Bytes that are still to come."""
        self._stream = transfer.stream
        self._messages = messages
        self._observer = observer
        self._kept_until = trio.current_time() + PROMISE_TIMEOUT

    def promised(self) -> int:
        """Returns the bytes of the disk that are kept for the rest of the file."""
        return self.remaining if trio.current_time() < self._kept_until else 0

    async def run(self) -> tuple[Path, Transferred]:
        """Raises _Refusal, and whatever the stream raises."""
        await self._stream.send_all(encode_frame(encode_reply(Reply(TransferStatus.OK))))
        started = trio.current_time()
        try:
            await self._receive_content()
            await self._check_digest()
            path = await trio.to_thread.run_sync(self.file.publish, self.transfer.name)
        except DecodeError as exc:
            raise _Refusal(TransferStatus.BAD_MESSAGE, str(exc)) from exc
        except trio.TooSlowError as exc:
            raise _Refusal(
                TransferStatus.TIMED_OUT, "nothing came from the sender for too long"
            ) from exc
        except OSError as exc:
            raise _disk_refusal(exc, self.transfer) from exc
        seconds = trio.current_time() - started
        return path, Transferred(self.transfer.size, self.file.digest().hex(), seconds)

    async def _receive_content(self) -> None:
        block = bytearray(self._messages.take_content(self.remaining))
        while self.remaining:
            missing = min(BLOCK_SIZE, self.remaining)
            while len(block) < missing:
                with trio.fail_after(STALL_TIMEOUT):
                    data = await self._stream.receive_some(missing - len(block))
                if not data:
                    raise DecodeError("the sender gave up in the middle of the file")
                block += data
            await trio.to_thread.run_sync(self.file.write, block)
            self.remaining -= len(block)
            self._kept_until = trio.current_time() + PROMISE_TIMEOUT
            self._observer.handle_progress(self.transfer, self.transfer.size - self.remaining)
            block = bytearray()

    async def _check_digest(self) -> None:
        with trio.fail_after(STALL_TIMEOUT):
            digest = decode_digest_untrusted(await self._messages.next_message())
        if digest.sha256 != self.file.digest():
            raise _Refusal(TransferStatus.DIGEST_MISMATCH, "the file's SHA-256 is not the sender's")


def _disk_refusal(exc: OSError, transfer: IncomingTransfer) -> _Refusal:
    """The sender is told what kind of failure it is; our user, the operating system's own words."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "there is not enough space on its disk"
        text = f"there is not enough space on the disk for its {transfer.size} bytes"
        return _Refusal(TransferStatus.NO_SPACE, reason, text, transfer)
    reason, text = (
        "it could not write the file to its disk",
        f"it cannot be written: {exc.strerror}",
    )
    return _Refusal(TransferStatus.WRITE_FAILED, reason, text, transfer)


async def _conclude(stream: PeerStream, reply: Reply) -> None:
    """Sends the last reply and waits, within limits, for the sender to finish."""
    with trio.move_on_after(DRAIN_TIMEOUT):
        await stream.send_all(encode_frame(encode_reply(reply)))
        await stream.send_eof()
        # Its rest is thrown away rather than refused: a reset could overtake our reply.
        while await stream.receive_some():
            pass
