"""AutoNAT v2's messages (specs/autonat.md, Wire format v2).

Rules: plain proto3, so a field that is missing is zero and zero is not sent; addresses keep their
index, which the answer refers to, so one that does not parse stays in the list as None.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.wire.multiaddr import Multiaddr, decode_multiaddr_untrusted
from p2pnode.wire.pb import autonat_v2_pb2 as pb
from p2pnode.wire.protobuf import parse_untrusted

MAX_MESSAGE_SIZE_V2 = 8192  # bytes on the dial-request stream; go-libp2p
MAX_DIAL_BACK_SIZE = 1024  # bytes a message on the dial-back stream; go-libp2p
MAX_ADDRS_INSPECTED = 50  # of a request; go-libp2p


class ResponseStatus(enum.IntEnum):
    """Whether the server dealt with the request (autonat-v2.md)."""

    E_INTERNAL_ERROR = 0
    E_REQUEST_REJECTED = 100
    E_DIAL_REFUSED = 101
    OK = 200


class DialStatus(enum.IntEnum):
    """What came of the dial (autonat-v2.md)."""

    UNUSED = 0
    E_DIAL_ERROR = 100
    E_DIAL_BACK_ERROR = 101
    OK = 200


@dataclass(frozen=True, slots=True)
class DialRequest:
    """The requester's first message."""

    addrs: tuple[Multiaddr | None, ...]
    """In order of priority; None for one that did not parse."""
    nonce: int


@dataclass(frozen=True, slots=True)
class DialResponse:
    """The server's last message.  Numbers outside of the enums are failures like the others."""

    status: int
    addr_index: int = 0
    dial_status: int = DialStatus.UNUSED


@dataclass(frozen=True, slots=True)
class DialDataRequest:
    """The server wants so many bytes before it dials that address."""

    addr_index: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class DialDataResponse:
    """Some of those bytes."""

    data: bytes


MessageV2: TypeAlias = DialRequest | DialResponse | DialDataRequest | DialDataResponse


def encode_message_v2(message: MessageV2) -> bytes:
    """Returns a message of the dial-request stream, without a length."""
    match message:
        case DialRequest(addrs, nonce):
            raw_addrs = [addr.to_bytes() if addr is not None else b"" for addr in addrs]
            request = pb.AutonatV2DialRequest(addrs=raw_addrs, nonce=nonce)
            wrapped = pb.AutonatV2(dialRequest=request.SerializeToString())
        case DialResponse(status, addr_index, dial_status):
            response = pb.AutonatV2DialResponse(
                status=status, addrIdx=addr_index, dialStatus=dial_status
            )
            wrapped = pb.AutonatV2(dialResponse=response.SerializeToString())
        case DialDataRequest(addr_index, num_bytes):
            wanted = pb.AutonatV2DialDataRequest(addrIdx=addr_index, numBytes=num_bytes)
            wrapped = pb.AutonatV2(dialDataRequest=wanted.SerializeToString())
        case DialDataResponse(data):
            some = pb.AutonatV2DialDataResponse(data=data)
            wrapped = pb.AutonatV2(dialDataResponse=some.SerializeToString())
    return wrapped.SerializeToString()


def decode_message_v2_untrusted(data: bytes) -> MessageV2:
    """Raises DecodeError for a message that is malformed or of no known kind."""
    message = parse_untrusted(pb.AutonatV2(), data, "the AutoNAT message")
    match message.WhichOneof("msg"):
        case "dialRequest":
            request = parse_untrusted(
                pb.AutonatV2DialRequest(), message.dialRequest, "the dial request"
            )
            inspected = list(request.addrs)[:MAX_ADDRS_INSPECTED]
            return DialRequest(tuple(map(_addr_or_none_untrusted, inspected)), request.nonce)
        case "dialResponse":
            response = parse_untrusted(
                pb.AutonatV2DialResponse(), message.dialResponse, "the dial response"
            )
            return DialResponse(response.status, response.addrIdx, response.dialStatus)
        case "dialDataRequest":
            wanted = parse_untrusted(
                pb.AutonatV2DialDataRequest(), message.dialDataRequest, "the dial data request"
            )
            return DialDataRequest(wanted.addrIdx, wanted.numBytes)
        case "dialDataResponse":
            some = parse_untrusted(
                pb.AutonatV2DialDataResponse(), message.dialDataResponse, "the dial data"
            )
            return DialDataResponse(some.data)
        case _:
            raise DecodeError("an AutoNAT message of no known kind")


def encode_dial_back(nonce: int) -> bytes:
    """Returns the DialBack message, without a length."""
    return pb.AutonatV2DialBack(nonce=nonce).SerializeToString()


def decode_dial_back_untrusted(data: bytes) -> int:
    """Returns the nonce of a DialBack message.  Raises DecodeError."""
    return parse_untrusted(pb.AutonatV2DialBack(), data, "the dial-back").nonce


def encode_dial_back_response() -> bytes:
    """Returns the DialBackResponse OK, without a length: no bytes at all."""
    return pb.AutonatV2DialBackResponse(status=0).SerializeToString()


def _addr_or_none_untrusted(raw: bytes) -> Multiaddr | None:
    try:
        return decode_multiaddr_untrusted(raw)
    except DecodeError:
        return None
