"""One hostile connection: an honest handshake, and then whatever its attack wants to say.

It acknowledges what comes, and heeds what the protocol punishes at once (how many streams it may
open, packet numbers that were never used); it keeps no window, no pace and no congestion control.
"""

import enum
import itertools
from typing import Final

from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.transports.datagrams.frame import ConnectionClose, NewToken
from p2pnode.transports.delivery.frame import STREAM_TYPES, Ack, MaxStreams, decode_stream_untrusted
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.frame import decode_frame_untrusted, encode_ack
from p2pnode.transports.noise_udp.handshake import Answer, Credentials, InitiatorHandshake
from p2pnode.transports.noise_udp.packet import (
    DATA,
    KEY_PHASE,
    STATELESS_RESET,
    HandshakeType,
    decode_message_untrusted,
    decode_retry_untrusted,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters
from tests.support.raw_packets import RawPackets

ACK_EVERY: Final = 4
"""packets of the other side that are acknowledged together"""
AEAD: Final = Aead.CHACHA20_POLY1305
MAIN_PATH: Final = (0,)


class Stage(enum.Enum):
    DIALLING = enum.auto()
    ANSWERED = enum.auto()
    """Message 2 has come; the attack does not want to go on."""
    OPEN = enum.auto()
    ENDED = enum.auto()


class HostilePeer:
    """The initiator of a connection, without I/O."""

    def __init__(
        self,
        credentials: Credentials,
        entropy: Entropy,
        *,
        source: int = 0,
        token: bytes = b"",
        finishes: bool = True,
        acknowledges: bool = True,
    ) -> None:
        """`source`: the number of the address that it sends from.  Without `finishes` it stays half
        open, with message 3 unsent."""
        self.source = source
        self.stage = Stage.DIALLING
        self.connection_id = int.from_bytes(entropy(8), "big")
        self.peer_connection_id = 0
        """The victim's; from message 2 on."""
        self.closed_with: ConnectionClose | None = None
        self.new_token = b""
        """What the victim gave it for its next dial."""
        self.max_streams = 0
        self.streams_opened = 0
        self.last_heard = 0.0
        self.last_said = 0.0
        self._credentials = credentials
        self._entropy = entropy
        self._finishes = finishes
        self._acknowledges = acknowledges
        self._packets: RawPackets | None = None
        self._unacked = 0
        self._first, self._largest = 0, -1
        """The last run of packet numbers that came without a gap."""
        self._numbers = itertools.count(1)
        self._destination = int.from_bytes(entropy(8), "big")
        self.initial = self._begin(token)
        """Message 1."""

    def _begin(self, token: bytes) -> bytes:
        self._handshake = InitiatorHandshake(
            self._credentials,
            self._entropy,
            destination=self._destination,  # a Retry's token is bound to both ids
            source=self.connection_id,
            token=token,
        )
        return self._handshake.packet

    @property
    def is_open(self) -> bool:
        return self.stage is Stage.OPEN

    def next_number(self) -> int:
        """Returns 1, 2, 3 ...: sequence numbers of frames that need one."""
        return next(self._numbers)

    def open_stream(self) -> int | None:
        """Returns the id of a new stream, or None where the victim allows no more now."""
        if self.streams_opened >= self.max_streams:
            return None
        stream_id = self.streams_opened << 1
        self.streams_opened += 1
        return stream_id

    def seal(self, payload: bytes) -> bytes:
        """Returns a data packet of any frames."""
        assert self._packets is not None, "not open"
        return self._packets.seal(payload)

    def handle_datagram(self, datagram: bytes, now: float) -> list[bytes]:
        """Takes what came; returns what goes out for it at once."""
        self.last_heard = now
        kind = datagram[0]
        try:
            if kind & ~KEY_PHASE == DATA:
                return self._on_data(datagram)
            if kind == HandshakeType.RETRY and self.stage is Stage.DIALLING:
                self.initial = self._begin(decode_retry_untrusted(datagram).token)
                return [self.initial]
            if kind == HandshakeType.RESPONSE and self.stage is Stage.DIALLING:
                return self._on_response(datagram)
            if kind == STATELESS_RESET:
                self.stage = Stage.ENDED
        except (DecodeError, HandshakeError):
            pass
        return []

    def _on_response(self, datagram: bytes) -> list[bytes]:
        _, message, _ = decode_message_untrusted(datagram)
        answer = self._handshake.read_response_untrusted(message)
        parameters = answer.introduction.parameters
        self.peer_connection_id = parameters.connection_id
        self.max_streams = parameters.initial_max_streams
        self.stage = Stage.ANSWERED
        return [self._finish(answer)] if self._finishes else []

    def _finish(self, answer: Answer) -> bytes:
        ours = TransportParameters(
            connection_id=self.connection_id,
            reset_token=self._entropy(16),
            aeads=(AEAD,),
            max_idle_timeout_ms=0,
            max_udp_payload=1500,
            initial_max_data=1 << 30,
            initial_max_stream_data=1 << 30,
            initial_max_streams=256,
            max_ack_delay_us=25_000,
            max_datagram_frame=0,
            initial_max_path_id=8,
        )
        final, secrets = self._handshake.finish(answer, ours)
        self._packets = RawPackets(secrets, AEAD, self.peer_connection_id, is_initiator=True)
        self.stage = Stage.OPEN
        return final + self.seal(b"\x01")

    def _on_data(self, datagram: bytes) -> list[bytes]:
        opened = None if self._packets is None else self._packets.open(datagram, MAIN_PATH)
        if opened is None:
            return []
        _, number, payload = opened
        if number > self._largest:
            if number != self._largest + 1:
                self._first = number
            self._largest = number
        if self._take(payload):
            self._unacked += 1
        if self._unacked < ACK_EVERY or not self.is_open or not self._acknowledges:
            return []
        self._unacked = 0
        return [self.seal(self.acknowledgement())]

    def acknowledgement(self) -> bytes:
        """Returns an ACK frame of the packets that came last without a gap; empty without any."""
        if self._largest < 0:
            return b""
        return encode_ack(Ack(0, 0, ((self._first, self._largest + 1),)))

    def _take(self, payload: bytes) -> bool:
        """Returns whether the packet wants to be acknowledged."""
        position, end, is_eliciting = 0, len(payload), False
        while position < end:
            kind = payload[position]
            if kind in STREAM_TYPES:
                position = decode_stream_untrusted(payload, position)[-1]
                is_eliciting = True
            elif kind == 0:
                position = end - len(payload[position:].lstrip(b"\0"))
            else:
                frame, position = decode_frame_untrusted(payload, position)
                match frame:
                    case Ack():
                        continue
                    case MaxStreams():
                        self.max_streams = max(self.max_streams, frame.maximum)
                    case NewToken():
                        self.new_token = frame.token
                    case ConnectionClose():
                        self.closed_with, self.stage = frame, Stage.ENDED
                    case _:
                        pass
                is_eliciting = True
        return is_eliciting
