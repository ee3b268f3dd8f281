"""Protocol negotiation at the start of a stream, both sides (specs/multistream.md).

    Initiator   HEADER --their header--> REPLY --echo--> Agreed
                                         REPLY --na, another proposal--> REPLY
                                         REPLY --na, none left--> ProposalRefused
    Responder   HEADER --their header--> PROPOSAL --supported--> Agreed
                                         PROPOSAL --not supported--> PROPOSAL, answers na
    both        anything else, or the end of the stream--> Failed

These are prefix filters rather than stream machines: they take the first bytes of a stream, say
which protocol it carries, and hand back the bytes behind the negotiation, which belong to that
protocol.  Rule: not a byte of those is looked at.  Deadlines are the owner's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.wire.framing import FrameReader
from p2pnode.wire.multistream.messages import (
    MAX_MESSAGE_SIZE,
    MULTISTREAM_PROTOCOL,
    NOT_AVAILABLE,
    decode_message_untrusted,
    encode_message,
)

MAX_PROPOSALS = 32  # a stream; chosen: more than any peer has versions of one protocol


@dataclass(frozen=True, slots=True)
class Agreed:
    """Both sides speak `protocol` from here on."""

    protocol: str
    rest: bytes
    """What arrived behind the negotiation: the first bytes of the protocol itself."""


@dataclass(frozen=True, slots=True)
class ProposalRefused:
    """The peer speaks none of what we proposed; the stream is good for nothing else."""

    protocols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream ended early, or the peer broke the protocol."""

    reason: str


Outcome: TypeAlias = Agreed | ProposalRefused | Failed


class _Negotiation:
    """What both sides share: cutting messages, the header, the first outcome wins."""

    def __init__(self) -> None:
        self._reader = FrameReader(MAX_MESSAGE_SIZE)
        self._header_seen = False
        self._output = bytearray()
        self.outcome: Outcome | None = None

    def handle_data(self, data: bytes) -> None:
        """Takes the stream's next bytes, cut anywhere.  Untrusted; never raises.

        Not to be called once there is an outcome: later bytes are the protocol's.
        """
        if self.outcome is not None:
            raise LocalProtocolError("the negotiation of this stream is over")
        self._reader.feed(data)
        try:
            while self.outcome is None:
                frame = self._reader.next_frame_untrusted()
                if frame is None:
                    return
                self._handle_message(decode_message_untrusted(frame))
        except DecodeError as exc:
            self.outcome = Failed(str(exc))

    def handle_eof(self) -> None:
        """The peer finished its direction."""
        if self.outcome is None:
            self.outcome = Failed("the stream ended during protocol negotiation")

    def poll_data(self) -> bytes:
        """Returns what to send; what the protocol itself sends comes behind it."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def _handle_message(self, text: str) -> None:
        if self._header_seen:
            self._handle_line(text)
            return
        if text != MULTISTREAM_PROTOCOL:
            self.outcome = Failed("the peer does not speak multistream-select 1.0")
            return
        self._header_seen = True

    def _handle_line(self, text: str) -> None:
        raise NotImplementedError

    def _send(self, text: str) -> None:
        self._output += encode_message(text)


class Initiator(_Negotiation):
    """The side that opened the stream.

    Header and first proposal go out at once.  Where there is one proposal only, the owner may send
    the protocol's own data straight behind, before any answer: no round trip is spent.  With
    several it must wait, because a peer that refuses the first would read data as a proposal.
    """

    def __init__(self, protocols: Sequence[str]) -> None:
        """`protocols` in order of preference."""
        if not 0 < len(protocols) <= MAX_PROPOSALS:
            raise LocalProtocolError(f"between 1 and {MAX_PROPOSALS} protocols can be proposed")
        for protocol in protocols:
            if len(protocol.encode()) >= MAX_MESSAGE_SIZE or "\n" in protocol:
                raise LocalProtocolError("a protocol id that is too long or has a newline inside")
        super().__init__()
        self._protocols = tuple(protocols)
        self._proposed = 0
        self._send(MULTISTREAM_PROTOCOL)
        self._send(self._protocols[0])

    @property
    def protocols(self) -> tuple[str, ...]:
        """What is proposed, in order of preference."""
        return self._protocols

    @property
    def may_send_early(self) -> bool:
        """True where the protocol's data may follow before there is an outcome."""
        return len(self._protocols) == 1

    def _handle_line(self, text: str) -> None:
        if text == self._protocols[self._proposed]:
            self.outcome = Agreed(text, self._reader.take_rest())
            return
        if text != NOT_AVAILABLE:
            self.outcome = Failed("the peer answered with a protocol that was not proposed")
            return
        self._proposed += 1
        if self._proposed == len(self._protocols):
            self.outcome = ProposalRefused(self._protocols)
            return
        self._send(self._protocols[self._proposed])


class Responder(_Negotiation):
    """The side that the stream was opened to."""

    def __init__(self, is_supported: Callable[[str], bool]) -> None:
        """`is_supported` gets text that a peer sent, of any content."""
        super().__init__()
        self._is_supported = is_supported
        self._refused = 0
        self._send(MULTISTREAM_PROTOCOL)

    def _handle_line(self, text: str) -> None:
        if self._is_supported(text):
            self._send(text)
            self.outcome = Agreed(text, self._reader.take_rest())
            return
        self._send(NOT_AVAILABLE)
        self._refused += 1
        if self._refused == MAX_PROPOSALS:
            self.outcome = Failed("the peer proposed too many protocols")
