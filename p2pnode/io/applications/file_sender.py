"""The sending end of a file transfer (specs/file_transfer.md).

    offer -> answer -> the bytes, their digest -> verdict -> end

Rule: the receiver may give its verdict at any time, so it is listened to while the bytes go out.
"""

from collections.abc import Callable

import trio

from p2pnode.errors import DecodeError, PeerBusy, ProtocolNotSupported
from p2pnode.escape import quoted
from p2pnode.io.applications.file_transfer import (
    ANSWER_TIMEOUT,
    VERDICT_TIMEOUT,
    MessageReader,
    TransferError,
    Transferred,
)
from p2pnode.io.applications.outgoing_file import OutgoingFile
from p2pnode.io.applications.peer_stream import STREAM_ERRORS, PeerStream, stream_failure
from p2pnode.io.applications.together import run_together
from p2pnode.protocols.file_transfer import PROTOCOL_ID
from p2pnode.protocols.file_transfer.messages import (
    Digest,
    Offer,
    Reply,
    TransferStatus,
    decode_reply_untrusted,
    encode_digest,
    encode_offer,
)
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.reset_code import StreamResetCode

LAST_WORDS_TIMEOUT = 1.0  # seconds; chosen: the verdict was sent before the stream broke


async def send_file(
    stream: PeerStream, file: OutgoingFile, progress: Callable[[int], None]
) -> Transferred:
    """Sends the file; returns when the receiver has it on its disk.

    `progress` is called with the bytes that were handed to the stream so far.  Raises
    TransferError, ProtocolNotSupported where the peer takes no files, and PeerBusy where it takes
    no more of them now.  Closes the stream; the receiver keeps nothing of a file that was not sent
    to its end, so also after cancellation.
    """
    is_done = False
    try:
        transferred = await _Sending(stream, file, progress).run()
        is_done = True
    except DecodeError as exc:
        raise TransferError(f"the receiver broke the protocol: {exc}") from exc
    except TransferError:
        raise
    except STREAM_ERRORS as exc:
        failure = stream_failure(exc)
        if isinstance(failure, ProtocolNotSupported | PeerBusy):
            raise failure from None
        raise TransferError(f"the file was not sent: {failure}") from exc
    except trio.TooSlowError as exc:
        raise TransferError("the receiver has not answered for too long") from exc
    finally:
        if not is_done:
            stream.reset(StreamResetCode.SHUTDOWN)
        await stream.aclose()
    return transferred


class _Sending:
    """One run of the protocol."""

    def __init__(
        self, stream: PeerStream, file: OutgoingFile, progress: Callable[[int], None]
    ) -> None:
        self._stream = stream
        self._file = file
        self._progress = progress
        self._messages = MessageReader(stream)
        self._is_all_sent = False
        self._accepted = trio.Event()

    async def run(self) -> Transferred:
        offer = encode_offer(Offer(self._file.name, self._file.size))
        with trio.fail_after(ANSWER_TIMEOUT):
            await self._stream.send_all(encode_frame(offer))
            await self._expect_ok()
        started = trio.current_time()
        await run_together(self._send_content, self._hear_verdict)
        seconds = trio.current_time() - started
        await self._stream.send_eof()
        return Transferred(self._file.size, self._file.digest().hex(), seconds)

    async def _send_content(self) -> None:
        sent = 0
        try:
            while block := await trio.to_thread.run_sync(self._file.read_block):
                await self._stream.send_all(block)
                sent += len(block)
                self._progress(sent)
            await trio.to_thread.run_sync(self._file.check_unchanged)
            digest = encode_digest(Digest(self._file.digest()))
            self._is_all_sent = True
            await self._stream.send_all(encode_frame(digest))
        except trio.BrokenResourceError:
            # The receiver stopped reading; why, its verdict says, if it is on its way.
            with trio.move_on_after(LAST_WORDS_TIMEOUT):
                await self._accepted.wait()
            raise
        with trio.fail_after(VERDICT_TIMEOUT):
            await self._accepted.wait()

    async def _hear_verdict(self) -> None:
        await self._expect_ok()
        if not self._is_all_sent:
            raise DecodeError("it accepted the file before it had all of it")
        self._accepted.set()

    async def _expect_ok(self) -> None:
        reply = decode_reply_untrusted(await self._messages.next_message())
        if reply.status == TransferStatus.BUSY:
            raise PeerBusy((PROTOCOL_ID,))
        if not reply.is_ok:
            raise TransferError(_refusal_text(reply))


def _refusal_text(reply: Reply) -> str:
    words = f"it gave no reason (status {reply.status})"
    if reply.reason:
        words = f"it says {quoted(reply.reason)}"
    return f"the receiver did not take the file: {words}"
