"""The sending half of a yamux stream (specs/yamux.md, Sending).

    SEND -> DATA_SENT -> DATA_RECVD
      |         |
      +---------+-> RESET

The rule: the link loses nothing, so a byte is done with once it is in a frame.  What the peer has
is proved by a ping that was sent behind the end and is answered.
"""

from typing import Final

from p2pnode.errors import LocalProtocolError, StreamStopped
from p2pnode.machine import Buffer
from p2pnode.transports.delivery.held_bytes import HeldBytes
from p2pnode.transports.delivery.send_buffer import SendBuffer
from p2pnode.transports.delivery.stream_state import StreamEnum
from p2pnode.wire.byte_view import byte_view

INITIAL_WINDOW: Final = 256 * 1024
"""bytes of a stream, each way, before any update; yamux"""
SEND_BUFFER_SIZE: Final = 1024 * 1024
"""bytes that were written and are in no frame yet; chosen: the system's buffers hold what is in
flight, this is what waits while the application is woken"""
LITTLE_SEND_BUFFER: Final = 128 * 1024
"""bytes of the same, where little is to be held; chosen: two full frames"""


class SendState(StreamEnum):
    SEND = "send"
    DATA_SENT = "data sent"
    DATA_RECVD = "data received"
    RESET = "reset"


class SendInput(StreamEnum):
    SEND_FIN = "a frame with FIN"
    ALL_ACKED = "a ping behind the end was answered"
    RST = "a frame with RST, of either side"


TRANSITIONS: Final[dict[tuple[SendState, SendInput], SendState]] = {
    (SendState.SEND, SendInput.SEND_FIN): SendState.DATA_SENT,
    (SendState.SEND, SendInput.RST): SendState.RESET,
    (SendState.DATA_SENT, SendInput.ALL_ACKED): SendState.DATA_RECVD,
    (SendState.DATA_SENT, SendInput.RST): SendState.RESET,
}


class SendHalf:
    """Bytes from the application until they are in frames."""

    __slots__ = (
        "_buffer",
        "_held",
        "is_finished",
        "is_short",
        "limit",
        "reset_code",
        "sent",
        "state",
        "stop_code",
        "stream_id",
    )

    def __init__(self, stream_id: int, held: HeldBytes) -> None:
        """`held` is the session's."""
        self.stream_id = stream_id
        self.state = SendState.SEND
        self.limit = INITIAL_WINDOW
        """How many bytes in all the peer allows."""
        self.sent = 0
        """Bytes that are in frames."""
        self.is_finished = False
        """Whether the end is known, sent or not."""
        self.is_short = False
        """Whether a write was cut short, and nobody was told of room since."""
        self.reset_code: int | None = None
        self.stop_code: int | None = None
        self._held = held
        self._buffer = SendBuffer(held)

    @property
    def is_delivered(self) -> bool:
        """Whether the peer's session has everything, the end included."""
        return self.state is SendState.DATA_RECVD

    @property
    def is_terminal(self) -> bool:
        return self.state is SendState.DATA_RECVD or self.state is SendState.RESET

    @property
    def is_ended(self) -> bool:
        """Whether no frame follows: the end, or a reset, was sent or came."""
        return self.state is not SendState.SEND

    @property
    def waiting(self) -> int:
        """Bytes that are in no frame yet."""
        return self._buffer.end - self.sent

    @property
    def sendable(self) -> int:
        """Bytes of those that the peer's window allows now."""
        return min(self._buffer.end, self.limit) - self.sent

    @property
    def is_fin_due(self) -> bool:
        """Whether nothing but the end is left to be sent."""
        return self.is_finished and self.state is SendState.SEND and self.sent == self._buffer.end

    def write(self, data: Buffer, buffer_size: int) -> int:
        """Returns how many bytes were taken, up to where `buffer_size` wait.

        Raises StreamStopped where the peer gave up, LocalProtocolError after `finish` or a reset of
        ours, TypeError for what is not bytes-like.
        """
        self._check_writable()
        if type(data) is not bytes:
            data = byte_view(data)
        room = buffer_size - self.waiting
        size = len(data)
        if size > room:
            self.is_short = True
            size = max(0, room)
            data = memoryview(data)[:size]
        if size:
            self._buffer.append(data)
        return size

    def finish(self) -> None:
        """Ends the stream behind what was written; raises as `write` does."""
        self._check_writable()
        self.is_finished = True
        self.is_short = False

    def take(self, size: int) -> bytes | memoryview:
        """Returns the next bytes for a frame; `size` > 0 is within `sendable`."""
        start = self.sent
        self.sent = stop = start + size
        data = self._buffer.view(start, stop)
        self._buffer.free(stop)
        return data

    def on_fin_sent(self) -> None:
        self._advance(SendInput.SEND_FIN)

    def on_answered(self) -> bool:
        """A ping behind the end was answered; returns whether that tells something new."""
        if self.state is not SendState.DATA_SENT:
            return False
        self._advance(SendInput.ALL_ACKED)
        return True

    def on_reset(self, *, reset_code: int | None = None, stop_code: int | None = None) -> bool:
        """Gives up what is not sent, for one of the two reasons; False where it has ended."""
        if self.is_terminal:
            return False
        self._advance(SendInput.RST)
        self.reset_code, self.stop_code = reset_code, stop_code
        self.forsake()
        return True

    def forsake(self) -> None:
        """Drops what was not sent, for good: nothing is asked of the stream after it."""
        self._buffer.drop()
        self._buffer = SendBuffer(self._held)
        self.sent = 0
        self.is_short = False

    def count_held(self) -> int:
        """Counts anew what is kept, in bytes."""
        return self._buffer.count_held()

    def _advance(self, event: SendInput) -> None:
        self.state = TRANSITIONS[self.state, event]

    def _check_writable(self) -> None:
        if self.stop_code is not None:
            raise StreamStopped(self.stop_code)
        if self.reset_code is not None:
            raise LocalProtocolError(f"stream {self.stream_id} was reset on this side")
        if self.is_finished:
            raise LocalProtocolError(f"stream {self.stream_id} was finished on this side")
