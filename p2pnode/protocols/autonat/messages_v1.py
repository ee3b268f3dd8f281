"""AutoNAT v1's messages (specs/autonat.md, Wire format v1).

Rules: the codec yields values; what they ask for is judged elsewhere.  An address that does not
parse is left out, the rest counts; a status that nobody has defined stays a number.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.multiaddr import Multiaddr, decode_multiaddr_untrusted
from p2pnode.wire.pb import autonat_v1_pb2 as pb
from p2pnode.wire.protobuf import parse_untrusted

MAX_MESSAGE_SIZE_V1 = 4096  # bytes; go-libp2p
MAX_STATUS_TEXT_SIZE = 256  # bytes kept; chosen: a sentence for people
_DIAL = 0
_DIAL_RESPONSE = 1


class StatusV1(enum.IntEnum):
    """ResponseStatus of autonat-v1.md."""

    OK = 0
    E_DIAL_ERROR = 100
    E_DIAL_REFUSED = 101
    E_BAD_REQUEST = 200
    E_INTERNAL_ERROR = 300


@dataclass(frozen=True, slots=True)
class DialV1:
    """The requester's message: dial me, at one of these."""

    peer_id: PeerId
    addrs: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class DialResponseV1:
    """The server's message: what came of it."""

    status: int
    """A `StatusV1`, or a number that this revision does not know: a failure like the others."""
    text: str = ""
    """For people; hostile until escaped."""
    addr: Multiaddr | None = None
    """Which address answered; only with OK."""


MessageV1: TypeAlias = DialV1 | DialResponseV1


def encode_message_v1(message: MessageV1) -> bytes:
    """Returns the message without a length."""
    match message:
        case DialV1(peer_id, addrs):
            peer = pb.AutonatV1PeerInfo(
                id=peer_id.to_bytes(), addrs=[addr.to_bytes() for addr in addrs]
            )
            dial = pb.AutonatV1Dial(peer=peer.SerializeToString())
            return pb.AutonatV1(type=_DIAL, dial=dial.SerializeToString()).SerializeToString()
        case DialResponseV1(status, text, addr):
            response = pb.AutonatV1DialResponse(status=status)
            if text:
                response.statusText = text.encode("utf-8", "replace")[:MAX_STATUS_TEXT_SIZE]
            if addr is not None:
                response.addr = addr.to_bytes()
            raw = response.SerializeToString()
            return pb.AutonatV1(type=_DIAL_RESPONSE, dialResponse=raw).SerializeToString()


def decode_message_v1_untrusted(data: bytes) -> MessageV1:
    """Raises DecodeError for a message that is malformed or neither of the two."""
    message = parse_untrusted(pb.AutonatV1(), data, "the AutoNAT message")
    if message.HasField("type") and message.type == _DIAL and message.HasField("dial"):
        return _decode_dial_untrusted(message.dial)
    if message.type == _DIAL_RESPONSE and message.HasField("dialResponse"):
        return _decode_response_untrusted(message.dialResponse)
    raise DecodeError("an AutoNAT message that is neither a request nor a response")


def _decode_dial_untrusted(data: bytes) -> DialV1:
    dial = parse_untrusted(pb.AutonatV1Dial(), data, "the AutoNAT request")
    peer = parse_untrusted(pb.AutonatV1PeerInfo(), dial.peer, "the AutoNAT request's peer")
    return DialV1(PeerId.decode_untrusted(peer.id), _usable_addrs_untrusted(list(peer.addrs)))


def _decode_response_untrusted(data: bytes) -> DialResponseV1:
    response = parse_untrusted(pb.AutonatV1DialResponse(), data, "the AutoNAT response")
    if not response.HasField("status"):
        raise DecodeError("an AutoNAT response without a status")
    return DialResponseV1(
        response.status,
        response.statusText[:MAX_STATUS_TEXT_SIZE].decode(errors="replace"),
        decode_multiaddr_untrusted(response.addr) if response.addr else None,
    )


def _usable_addrs_untrusted(raw_addrs: list[bytes]) -> tuple[Multiaddr, ...]:
    addrs: dict[Multiaddr, None] = {}
    for raw in raw_addrs:
        try:
            addrs[decode_multiaddr_untrusted(raw)] = None
        except DecodeError:
            continue
    return tuple(addrs)
