"""Both sides of ping, each one machine for one stream (specs/ping.md).

    PingRequester   IDLE --ping()--> WAITING --32 equal bytes--> IDLE, Pong
                    WAITING --10 s | other bytes | eof | reset--> DONE, PingFailed
                    IDLE --close() | eof | reset | 45 s without a ping--> DONE
    PingResponder   OPEN --32 bytes--> OPEN, echoes them
                    OPEN --eof | reset | 60 s of silence--> DONE

Rule: each ping's bytes are fresh and unpredictable, so that nobody can answer ahead of time.
"""

from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import LocalProtocolError
from p2pnode.machine import ResetStream, SendData, SendEof, StreamOutput
from p2pnode.wire.reset_code import StreamResetCode

PING_SIZE = 32  # bytes; libp2p ping.md
PING_TIMEOUT = 10.0  # seconds for one ping; go-libp2p
RESPONDER_IDLE_TIMEOUT = 60.0  # seconds without a ping; chosen: twice go-libp2p's whole stream
REQUESTER_IDLE_TIMEOUT = 45.0  # seconds; chosen: or a ping would cross the responder's giving up


@dataclass(frozen=True, slots=True)
class Pong:
    """One ping came back."""

    seq: int
    """Counts the pings of this stream from 0."""
    rtt: float
    """Seconds, from the ping's `now` to the pong's."""


@dataclass(frozen=True, slots=True)
class PingFailed:
    """A ping did not come back; the stream is over."""

    seq: int
    reason: str


PingEvent: TypeAlias = Pong | PingFailed


@dataclass(frozen=True, slots=True)
class _Idle:
    since: Instant | None
    """When the last pong came; None before the first ping."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    challenge: bytes
    sent_at: Instant


@dataclass(frozen=True, slots=True)
class _Done:
    pass


class PingRequester:
    """Pings one after the other on one stream."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._state: _Idle | _Waiting | _Done = _Idle(None)
        self._seq = 0
        self._received = bytearray()
        self._output: list[StreamOutput] = []
        self._events: list[PingEvent] = []

    def ping(self, now: Instant) -> None:
        """Sends a ping.  Raises LocalProtocolError where `can_ping` is false."""
        if not self.can_ping:
            raise LocalProtocolError("a ping is on its way already, or the stream is over")
        challenge = self._entropy(PING_SIZE)
        self._state = _Waiting(challenge, now)
        self._output.append(SendData(challenge))

    def close(self) -> None:
        """Ends the stream in good order; a ping on its way is forgotten."""
        if not self.is_done:
            self._state = _Done()
            self._output.append(SendEof())

    @property
    def can_ping(self) -> bool:
        """True while `ping` may be called."""
        return isinstance(self._state, _Idle)

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes what came back.  Untrusted; never raises."""
        match self._state:
            case _Waiting(challenge, sent_at):
                # One byte too many is enough to know that there are too many.
                self._received += data[: PING_SIZE + 1 - len(self._received)]
                if len(self._received) > PING_SIZE:
                    self._fail("the peer answered a ping with too many bytes")
                elif not challenge.startswith(bytes(self._received)):
                    self._fail("the peer answered a ping with other bytes")
                elif len(self._received) == PING_SIZE:
                    self._received.clear()
                    self._events.append(Pong(self._seq, max(0.0, now - sent_at)))
                    self._seq += 1
                    self._state = _Idle(now)
            case _Idle():
                if data:
                    self._fail("the peer sent bytes that answer no ping")
            case _Done():
                pass

    def handle_eof(self, now: Instant) -> None:
        """The peer finished its direction, which ends the pings."""
        if isinstance(self._state, _Waiting):
            self._events.append(PingFailed(self._seq, "the peer ended the stream"))
        self.close()

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        if isinstance(self._state, _Waiting):
            self._events.append(PingFailed(self._seq, "the stream was reset"))
        self._state = _Done()

    def handle_timeout(self, now: Instant) -> None:
        """Gives up a ping after its ten seconds, and a stream that nobody pings on."""
        deadline = self.poll_timeout()
        if deadline is None or now < deadline.at:
            return
        if isinstance(self._state, _Waiting):
            self._fail("the ping timed out", StreamResetCode.NONE)
        else:
            self.close()

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_events(self) -> list[PingEvent]:
        """Returns what became of the pings since the last call."""
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        """Returns when the ping on its way, or the idle stream, is given up."""
        match self._state:
            case _Waiting(_, sent_at):
                return Deadline(sent_at + PING_TIMEOUT, "ping timeout")
            case _Idle(since) if since is not None:
                return Deadline(since + REQUESTER_IDLE_TIMEOUT, "ping stream idle")
            case _:
                return None

    @property
    def is_done(self) -> bool:
        """True once no further ping is possible."""
        return isinstance(self._state, _Done)

    def _fail(
        self, reason: str, code: StreamResetCode = StreamResetCode.PROTOCOL_VIOLATION
    ) -> None:
        self._events.append(PingFailed(self._seq, reason))
        self._output.append(ResetStream(code))
        self._state = _Done()


class PingResponder:
    """Echoes whole pings until the peer ends the stream or falls silent.

    Holds less than one ping; the echo it returns is as long as what came in, so the owner's flow
    control, which reads no faster than it writes, bounds the rest.
    """

    def __init__(self, now: Instant) -> None:
        self._last_ping = now
        self._received = bytearray()
        self._output: list[StreamOutput] = []
        self._done = False

    def handle_data(self, data: bytes, now: Instant) -> None:
        """Takes pings.  Untrusted; never raises."""
        if self._done:
            return
        self._received += data
        whole = len(self._received) - len(self._received) % PING_SIZE
        if whole:
            self._output.append(SendData(bytes(self._received[:whole])))
            del self._received[:whole]
            self._last_ping = now

    def handle_eof(self, now: Instant) -> None:
        """The peer needs no more."""
        if not self._done:
            self._done = True
            self._output.append(SendEof())

    def handle_reset(self, code: int, now: Instant) -> None:
        """The stream is gone."""
        self._done = True
        self._output.clear()

    def handle_timeout(self, now: Instant) -> None:
        """Gives the stream up when no ping came for long."""
        if not self._done and now >= self._last_ping + RESPONDER_IDLE_TIMEOUT:
            self._done = True
            self._output.append(ResetStream(StreamResetCode.GARBAGE_COLLECTED))

    def poll_output(self) -> list[StreamOutput]:
        """Returns what to do to the stream, in order."""
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        """Returns when silence ends the stream."""
        if self._done:
            return None
        return Deadline(self._last_ping + RESPONDER_IDLE_TIMEOUT, "ping responder idle")

    @property
    def is_done(self) -> bool:
        """True once nothing will be echoed any more."""
        return self._done
