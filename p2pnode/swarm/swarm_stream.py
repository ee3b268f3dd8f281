"""A stream with a protocol: negotiation first, then the protocol's bytes.

Everything here is synchronous.  `read` and `write` say how much they did; the swarm reports when it
is worth trying again.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import (
    LocalProtocolError,
    P2PNodeError,
    PeerBusy,
    ProtocolNotSupported,
    StreamReset,
    StreamStopped,
)
from p2pnode.machine import Buffer, ConnectionHandle
from p2pnode.transports.muxed_connection import MuxedConnection, StreamEnding
from p2pnode.wire.multistream import Agreed, Failed, Initiator, ProposalRefused, Responder
from p2pnode.wire.reset_code import RETRIABLE, StreamResetCode

NEGOTIATION_TIMEOUT: Final = 10.0
"""seconds until both sides must have agreed; chosen: shorter than go-libp2p's 60 s, because a
stranger holds a stream all that time"""
MAX_NEGOTIATION_READ: Final = 64 * 1024
"""bytes taken at once while negotiating: what is behind the negotiation is kept"""

Wake: TypeAlias = Callable[[ConnectionHandle], object]
"""Makes its transport notice that a connection has something to send."""


class SwarmStream:
    """One stream, from its first byte to the end of both directions."""

    __slots__ = (
        "_connection",
        "_deadline",
        "_ending",
        "_failure",
        "_is_answered",
        "_is_released",
        "_negotiation",
        "_proposed",
        "_reset",
        "_rest",
        "_stopped",
        "_wake",
        "connection",
        "is_inbound",
        "peer_id",
        "protocol",
        "stream_id",
    )

    def __init__(
        self,
        handle: ConnectionHandle,
        connection: MuxedConnection,
        stream_id: int,
        negotiation: Initiator | Responder,
        wake: Wake,
        now: Instant,
    ) -> None:
        self.connection = handle
        self.stream_id = stream_id
        self.peer_id = connection.peer_id
        self.is_inbound = isinstance(negotiation, Responder)
        self.protocol: str | None = None
        """What both sides agreed on, once they have."""
        self._connection = connection
        self._wake = wake
        self._negotiation: Initiator | Responder | None = negotiation
        self._deadline: Instant | None = now + NEGOTIATION_TIMEOUT
        self._rest = b""
        self._failure: P2PNodeError | None = None
        self._proposed = negotiation.protocols if isinstance(negotiation, Initiator) else ()
        self._is_answered = False
        """Whether the protocol's first byte has come."""
        self._reset: P2PNodeError | None = None
        self._stopped: P2PNodeError | None = None
        """Why there is nothing more to read, or nobody who reads: the transport says it once."""
        self._is_released = False
        self._ending: StreamEnding | None = None
        """Our half, once it has an end: it still tells how that went when the rest is forgotten."""
        self._send_negotiation()

    @property
    def is_negotiated(self) -> bool:
        return self.protocol is not None

    @property
    def failure(self) -> P2PNodeError | None:
        """Why the stream is of no use any more, where the reason is not in the stream itself."""
        return self._failure

    @property
    def is_lost(self) -> bool:
        """True once the connection under it is over."""
        return self._connection.is_closed

    @property
    def is_over(self) -> bool:
        """True once nobody here needs the stream; what was written may still be on its way."""
        return self._failure is not None or (self._is_released and self._negotiation is None)

    @property
    def is_finished(self) -> bool:
        """True once our direction has an end."""
        return self._ending is not None

    @property
    def is_delivered(self) -> bool:
        """True once the peer has acknowledged all that was written, its end included."""
        return self._ending is not None and self._ending.is_delivered

    def check_deliverable(self) -> None:
        """Raises why the peer will never have all that was written, as `write` does.

        LocalProtocolError stands for our own reset.  Raises nothing where it has it already.
        """
        if self.is_delivered:
            return
        self._raise_failure()
        self._raise_lost()
        if self._ending is not None and self._ending.reset_code is not None:
            if self._ending.stop_code is not None:
                raise self._meaning(StreamStopped(self._ending.stop_code))
            raise LocalProtocolError("the stream was reset on this side")

    def negotiate(self) -> bool:
        """Takes what has arrived; returns whether the negotiation came to an end by it."""
        negotiation = self._negotiation
        if negotiation is None or self._failure is not None:
            return False
        streams = self._connection.streams
        try:
            data = streams.read(self.stream_id, MAX_NEGOTIATION_READ)
        except P2PNodeError as error:
            self.fail(self._meaning(error), StreamResetCode.NONE)
            return True
        if data:
            negotiation.handle_data(data)
        if negotiation.outcome is None and streams.at_eof(self.stream_id):
            negotiation.handle_eof()
        self._send_negotiation()
        match negotiation.outcome:
            case None:
                return False
            case Agreed(protocol, rest):
                self.protocol = protocol
                if rest:
                    self._set_rest(rest)
                self._negotiation = self._deadline = None
                if self._is_released:
                    self._stop()
            case ProposalRefused(protocols):
                self.fail(ProtocolNotSupported(protocols), StreamResetCode.NEGOTIATION_FAILED)
            case Failed(reason):
                self.fail(
                    LocalProtocolError(f"protocol negotiation failed: {reason}"),
                    StreamResetCode.NEGOTIATION_FAILED,
                )
        return True

    def read(self, max_bytes: int) -> bytes:
        """Returns bytes, or b"" where there are none (see `at_eof`).

        Raises StreamReset, ConnectionLost, ProtocolNotSupported or PeerBusy once everything that
        came before has been read.
        """
        if self._rest:
            self._is_answered = True
            data = self._rest[:max_bytes]
            self._set_rest(self._rest[max_bytes:])
            return data
        if self._negotiation is not None or self._failure is not None:
            self._raise_failure()
            self._raise_lost()
            return b""
        if self._reset is not None:
            raise self._reset.again()
        try:
            data = self._connection.streams.read(self.stream_id, max_bytes)
        except StreamReset as error:
            self._reset = self._meaning(error)
            raise self._reset.again() from None
        if data:
            self._is_answered = True
            streams = self._connection.streams
            if streams.is_left or streams.has_pending:
                self._wake(self.connection)
        elif not self.at_eof:
            self._raise_lost()
        return data

    @property
    def has_pending(self) -> bool:
        """Whether something waits to be sent on the connection, such as credit after a read."""
        return self._connection.streams.has_pending

    @property
    def at_eof(self) -> bool:
        """True once the peer's last byte was read."""
        if self._rest or self._negotiation is not None or self._failure is not None:
            return False
        return self._connection.streams.at_eof(self.stream_id)

    def write(self, data: Buffer) -> int:
        """Returns how many bytes were taken; the swarm reports when there is room again.

        Takes nothing before the negotiation is over, unless a single protocol was proposed.
        Raises StreamStopped, ConnectionLost, ProtocolNotSupported or PeerBusy.
        """
        self._raise_unwritable()
        if not self.may_write:
            return 0
        try:
            taken = self._connection.streams.write(self.stream_id, data)
        except StreamStopped as error:
            self._stopped = self._meaning(error)
            raise self._stopped.again() from None
        self._wake(self.connection)
        return taken

    @property
    def may_write(self) -> bool:
        negotiation = self._negotiation
        return negotiation is None or (
            isinstance(negotiation, Initiator) and negotiation.may_send_early
        )

    def finish(self) -> None:
        """Ends our direction behind what was written.  Raises as `write` does."""
        self._raise_unwritable()
        try:
            self._connection.streams.finish(self.stream_id)
            self._ending = self._connection.streams.sending(self.stream_id)
        except StreamStopped as error:
            self._stopped = self._meaning(error)
            raise self._stopped.again() from None
        self._wake(self.connection)

    def reset(self, code: int) -> None:
        """Gives both directions up.  Does nothing for what is over already."""
        streams = self._connection.streams
        if streams.is_known(self.stream_id):
            streams.reset(self.stream_id, code)
            streams.stop(self.stream_id, code)
            self._wake(self.connection)

    def release(self) -> None:
        """The caller wants no more of the stream: what still comes is dropped.

        A negotiation that is under way goes on: its answer is the peer's to give.
        """
        self._is_released = True
        if self._negotiation is None:
            self._stop()

    def fail(self, reason: P2PNodeError, code: int) -> None:
        """Makes the stream useless for a reason that is not the peer's."""
        if self._failure is None:
            self._failure = reason
            self._deadline = None
            self._set_rest(b"")
            self.reset(code)

    def poll_timeout(self) -> Deadline | None:
        return None if self._deadline is None else Deadline(self._deadline, "negotiation")

    def handle_timeout(self, now: Instant) -> bool:
        """Returns whether the negotiation has taken too long, and was given up by this call."""
        if self._deadline is None or now < self._deadline:
            return False
        self.fail(
            LocalProtocolError("the peer did not answer the protocol proposal in time"),
            StreamResetCode.NEGOTIATION_FAILED,
        )
        return True

    def _send_negotiation(self) -> None:
        negotiation = self._negotiation
        if negotiation is None or self._connection.is_closed:
            return
        data = negotiation.poll_data()
        if data:
            try:
                self._connection.streams.write(self.stream_id, data)
            except P2PNodeError as error:
                self.fail(error.again(), StreamResetCode.NONE)
            self._wake(self.connection)

    def keep(self, count: int) -> None:
        """Who uses the stream keeps so many bytes more for its peer, or less: accounted for."""
        self._connection.streams.held.keep_above(count)

    def _set_rest(self, rest: bytes) -> None:
        """Keeps what came behind the negotiation and was not read."""
        self.keep(len(rest) - len(self._rest))
        self._rest = rest

    def _stop(self) -> None:
        self._set_rest(b"")
        streams = self._connection.streams
        if streams.is_known(self.stream_id):
            streams.stop(self.stream_id, StreamResetCode.NONE)
            self._wake(self.connection)

    def _meaning(self, error: P2PNodeError) -> P2PNodeError:
        """Returns what the peer says by giving up a stream that we opened.

        Who sent data behind a proposal that is refused has sent another proposal, and a malformed
        one: the peer then resets the stream, and its "na" may be lost with it.
        """
        error = error.again()  # it is kept
        if self._is_answered or not isinstance(error, StreamReset | StreamStopped):
            return error
        if self._proposed and error.code in RETRIABLE:
            return PeerBusy(self._proposed)
        is_refused = error.code == StreamResetCode.NEGOTIATION_FAILED
        if self._proposed and is_refused and self._negotiation is not None:
            return ProtocolNotSupported(self._proposed)
        return error

    def _raise_unwritable(self) -> None:
        self._raise_failure()
        self._raise_lost()
        if self._stopped is not None:
            raise self._stopped.again()
        if self._reset is not None and not self._connection.streams.is_known(self.stream_id):
            # The peer gave up both directions, and the transport has forgotten.
            raise self._reset.again()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.again()

    def _raise_lost(self) -> None:
        reason = self._connection.close_reason
        if reason is not None:
            raise reason.again()


def propose(protocols: Sequence[str]) -> Initiator:
    """Returns the dialling side's negotiation."""
    return Initiator(protocols)
