"""Requests, answers and the knock's datagram (specs/nat_behaviour.md, Wire format).

    knock:  first byte 0x98 | SHA-256(label | nonce), 32 bytes

A knock goes either way: from the peer's other port to a port of ours, or from ours to that port.

Rules: a peer's knock goes to the IP address that the request came from, so a request names a port
only; what it carries is hashed, so that nobody can have bytes of their choice sent; what a peer
says of itself is cut to its bounds, and numbers that we do not know mean "unknown".
"""

import enum
import hashlib
import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.machine import SocketAddr
from p2pnode.protocols.nat_behaviour.facts import UNKNOWN_FACTS, Dependence, NatFacts
from p2pnode.wire.pb import nat_behaviour_pb2 as pb
from p2pnode.wire.protobuf import parse_untrusted

MAX_REQUEST_SIZE = 256  # bytes; chosen: a nonce, and fields that we do not know
MAX_ANSWER_SIZE = 1024  # bytes; chosen: the facts, and fields that we do not know
MAX_EXTERNAL_IPS = 8  # of one peer; chosen: a carrier's pool shows a few
MAX_COUNT = 1 << 16  # of evidence; chosen: more observers than a node has connections
NONCE_SIZE = 32  # bytes; chosen: so a request is larger than the datagram that it causes
TOKEN_SIZE = 32  # bytes; SHA-256
KNOCK_SIZE = 1 + TOKEN_SIZE
KNOCK_FIRST_BYTE = 0x98
"""AutoNAT's probes begin with it too: such a datagram is for who awaits its token."""
LOWEST_KNOCK_PORT = 1024  # below are services of others; few NATs map to them
_HIGHEST_PORT = 0xFFFF
_LABEL = b"p2pnode knock 1"

_REPORT, _KNOCK, _LOCATE = 1, 2, 3
_DEPENDENCES = (
    Dependence.UNKNOWN,
    Dependence.NONE,
    Dependence.ENDPOINT_INDEPENDENT,
    Dependence.ADDRESS_DEPENDENT,
    Dependence.ADDRESS_AND_PORT_DEPENDENT,
    Dependence.ENDPOINT_DEPENDENT,
)
"""By their numbers on the wire."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What do you know of your NAT?"""


@dataclass(frozen=True, slots=True)
class KnockRequest:
    """Send a knock from your other port to this port at the address that you see me at."""

    port: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class LocateRequest:
    """Where did the knock with this nonce, which I sent to your other port, come from?"""

    nonce: bytes


NatRequest: TypeAlias = ReportRequest | KnockRequest | LocateRequest


class NatStatus(enum.IntEnum):
    """What became of a request."""

    REFUSED = 0
    """It will not be done; also what a missing field, or one that we do not know, says."""
    OK = 1
    """The report is here; the knock is on its way."""
    RELAYED = 2
    """A knock can only be asked for over a direct connection."""
    NO_PORT = 3
    """There is no other port to knock from."""
    NOT_SEEN = 4
    """No such knock has arrived, or it was too long ago."""


@dataclass(frozen=True, slots=True)
class NatAnswer:
    """What a peer answers."""

    status: NatStatus
    facts: NatFacts = UNKNOWN_FACTS
    seen_at: SocketAddr | None = None
    """Where the knock that was asked for came from."""


def encode_knock(nonce: bytes) -> bytes:
    """Returns the datagram that proves that a request with this nonce was carried out."""
    return bytes((KNOCK_FIRST_BYTE,)) + hashlib.sha256(_LABEL + nonce).digest()


def encode_request(request: NatRequest) -> bytes:
    """Returns a request, without a length."""
    match request:
        case ReportRequest():
            return pb.NatRequest(type=_REPORT).SerializeToString()
        case KnockRequest(port, nonce):
            return pb.NatRequest(type=_KNOCK, port=port, nonce=nonce).SerializeToString()
        case LocateRequest(nonce):
            return pb.NatRequest(type=_LOCATE, nonce=nonce).SerializeToString()


def decode_request_untrusted(data: bytes) -> NatRequest:
    """Returns a request.  Raises DecodeError."""
    message = parse_untrusted(pb.NatRequest(), data, "a NAT request")
    if message.type == _REPORT:
        return ReportRequest()
    if message.type not in (_KNOCK, _LOCATE):
        raise DecodeError(f"a NAT request of the unknown type {message.type}")
    if len(message.nonce) != NONCE_SIZE:
        raise DecodeError(f"a knock with a nonce of {len(message.nonce)} bytes")
    if message.type == _LOCATE:
        return LocateRequest(message.nonce)
    if not LOWEST_KNOCK_PORT <= message.port <= _HIGHEST_PORT:
        raise DecodeError(f"a knock at port {message.port}")
    return KnockRequest(message.port, message.nonce)


def encode_answer(answer: NatAnswer) -> bytes:
    """Returns an answer, without a length."""
    facts = answer.facts
    encoded = pb.NatFacts(
        mapping=_DEPENDENCES.index(facts.mapping),
        filtering=_DEPENDENCES.index(facts.filtering),
        externalIps=[
            ipaddress.ip_address(ip).packed for ip in facts.external_ips[:MAX_EXTERNAL_IPS]
        ],
        udpBlocked=facts.is_udp_blocked,
        observers=min(facts.observers, MAX_COUNT),
        probes=min(facts.probes, MAX_COUNT),
        alternatePort4=facts.alternate_port_v4 or 0,
        alternatePort6=facts.alternate_port_v6 or 0,
    )
    seen = answer.seen_at
    return pb.NatAnswer(
        status=answer.status,
        facts=encoded.SerializeToString(),
        ip=b"" if seen is None else ipaddress.ip_address(seen.ip).packed,
        port=0 if seen is None else seen.port,
    ).SerializeToString()


def decode_answer_untrusted(data: bytes) -> NatAnswer:
    """Returns an answer.  Raises DecodeError."""
    message = parse_untrusted(pb.NatAnswer(), data, "a NAT answer")
    facts = parse_untrusted(pb.NatFacts(), message.facts, "the NAT facts")
    try:
        status = NatStatus(message.status)
    except ValueError:
        status = NatStatus.REFUSED
    return NatAnswer(
        status,
        NatFacts(
            mapping=_dependence(facts.mapping),
            filtering=_dependence(facts.filtering),
            external_ips=_ips_untrusted(list(facts.externalIps[:MAX_EXTERNAL_IPS])),
            is_udp_blocked=facts.udpBlocked,
            observers=min(facts.observers, MAX_COUNT),
            probes=min(facts.probes, MAX_COUNT),
            alternate_port_v4=_port(facts.alternatePort4),
            alternate_port_v6=_port(facts.alternatePort6),
        ),
        _address_untrusted(message.ip, message.port),
    )


def _dependence(number: int) -> Dependence:
    return _DEPENDENCES[number] if number < len(_DEPENDENCES) else Dependence.UNKNOWN


def _port(number: int) -> int | None:
    return number if 0 < number <= _HIGHEST_PORT else None


def _address_untrusted(packed: bytes, port: int) -> SocketAddr | None:
    ips = _ips_untrusted([packed])
    return SocketAddr(ips[0], port) if ips and _port(port) is not None else None


def _ips_untrusted(packed: list[bytes]) -> tuple[str, ...]:
    """Returns the addresses that are some, each once."""
    ips: dict[str, None] = {}
    for raw in packed:
        try:
            ips[str(ipaddress.ip_address(raw))] = None
        except ValueError:
            continue
    return tuple(ips)
