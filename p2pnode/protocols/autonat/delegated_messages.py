"""Delegated dial-back's messages and its probe datagram (specs/autonat.md, Delegated dial-back).

The probe carries no identity, only a token that whoever holds the order can make and nobody else:

    first byte 0x98 | HMAC-SHA256(nonce, label | asker | helper's IP | address), 32 bytes

Rule: the token covers everything that was agreed, so that an order replayed for another asker, sent
on to another helper or aimed at another address yields a token that nobody waits for.
"""

import enum
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.multiaddr import Multiaddr, decode_multiaddr_untrusted
from p2pnode.wire.pb import dial_back_pb2 as pb
from p2pnode.wire.protobuf import parse_untrusted

MAX_MESSAGE_SIZE_DELEGATED = 2048  # bytes; chosen: the largest multiaddr and the rest twice over
NONCE_SIZE = 16  # bytes; 128 bits, unguessable
ASKER_SIZE = 32  # bytes; SHA-256
TOKEN_SIZE = 32  # bytes; SHA-256
PROBE_FIRST_BYTE = 0x98
"""Tells a probe from noise-udp's packets on the same socket (specs/transport.md, Packets)."""
PROBE_SIZE = 1 + TOKEN_SIZE
MAX_HELPERS_OFFERED = 8  # chosen: enough to be vetoed and still leave three
MAX_HELPERS_CHOSEN = 3  # chosen: one probe in a hundred is lost, three hardly ever are
MIN_ASK_SIZE = MAX_HELPERS_CHOSEN * PROBE_SIZE
"""bytes: an ask is never smaller than all the probes that it can cause"""
_LABEL = b"p2pnode dial-back 1 token"
_ASKER_LABEL = b"p2pnode dial-back 1 asker"


class HelperStatus(enum.IntEnum):
    """What a helper did with an order, in `Done` and `Report`."""

    REFUSED = 0
    """It does not want to; also what a missing field says."""
    SENT = 1
    ACQUAINTED = 2
    """It has exchanged packets with that IP lately, so its probe would prove nothing."""
    UNAVAILABLE = 3
    """The server could not get hold of it (never said by a helper)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Asker to server: have somebody knock at this address of mine."""

    address: Multiaddr


@dataclass(frozen=True, slots=True)
class DialBackOffer:
    """Server to asker: these could do it.  Empty where nobody can."""

    helper_ips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Asker to server: a nonce for each helper that may, None for each that may not."""

    nonces: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Server to asker: what the helper at this place of the offer did."""

    helper: int
    status: int


DelegatedMessage: TypeAlias = Ask | DialBackOffer | Choice | Report


@dataclass(frozen=True, slots=True)
class Order:
    """Server to helper: send one probe there."""

    address: Multiaddr
    nonce: bytes
    asker: bytes
    """`asker_commitment` of who asked: no peer id, helpers need not know."""
    helper_ip: str
    """The helper's IP as the server sees it and has told the asker."""


def asker_commitment(asker: PeerId, nonce: bytes) -> bytes:
    """Returns what stands for the asker in an order: of no use to find out who it is."""
    return hashlib.sha256(_ASKER_LABEL + nonce + asker.to_bytes()).digest()


def probe_token(order: Order) -> bytes:
    """Returns the token that proves this order was carried out."""
    helper = ipaddress.ip_address(order.helper_ip).packed.rjust(16, b"\0")
    # All parts but the last are of fixed size: no two orders hash the same bytes.
    bound = _LABEL + order.asker + helper + order.address.to_bytes()
    return hmac.digest(order.nonce, bound, "sha256")


def encode_probe(token: bytes) -> bytes:
    """Returns the datagram."""
    assert len(token) == TOKEN_SIZE
    return bytes((PROBE_FIRST_BYTE,)) + token


def decode_probe_untrusted(datagram: bytes) -> bytes:
    """Returns the token of a probe datagram.  Raises DecodeError for any other datagram."""
    if len(datagram) != PROBE_SIZE or datagram[0] != PROBE_FIRST_BYTE:
        raise DecodeError("not a dial-back probe")
    return bytes(datagram[1:])


def encode_delegated_message(message: DelegatedMessage) -> bytes:
    """Returns a message between asker and server, without a length."""
    match message:
        case Ask(address):
            ask = pb.DialBackAsk(address=address.to_bytes(), padding=bytes(MIN_ASK_SIZE))
            talk = pb.DialBackTalk(ask=ask.SerializeToString())
        case DialBackOffer(helper_ips):
            packed = [ipaddress.ip_address(ip).packed for ip in helper_ips]
            talk = pb.DialBackTalk(offer=pb.DialBackOffer(helperIps=packed).SerializeToString())
        case Choice(nonces):
            choice = pb.DialBackChoice(nonces=[nonce or b"" for nonce in nonces])
            talk = pb.DialBackTalk(choice=choice.SerializeToString())
        case Report(helper, status):
            report = pb.DialBackReport(helper=helper, status=status)
            talk = pb.DialBackTalk(report=report.SerializeToString())
    return talk.SerializeToString()


def decode_delegated_message_untrusted(data: bytes) -> DelegatedMessage:
    """Raises DecodeError for a message that is malformed, of no known kind or above a limit."""
    talk = parse_untrusted(pb.DialBackTalk(), data, "the dial-back message")
    match talk.WhichOneof("msg"):
        case "ask":
            ask = parse_untrusted(pb.DialBackAsk(), talk.ask, "the dial-back ask")
            if len(data) < MIN_ASK_SIZE:
                raise DecodeError("a dial-back ask that is smaller than its probes")
            return Ask(decode_multiaddr_untrusted(ask.address))
        case "offer":
            offer = parse_untrusted(pb.DialBackOffer(), talk.offer, "the dial-back offer")
            if len(offer.helperIps) > MAX_HELPERS_OFFERED:
                raise DecodeError("a dial-back offer of too many helpers")
            return DialBackOffer(tuple(map(_ip_untrusted, offer.helperIps)))
        case "choice":
            choice = parse_untrusted(pb.DialBackChoice(), talk.choice, "the dial-back choice")
            return Choice(tuple(map(_nonce_untrusted, choice.nonces)))
        case "report":
            report = parse_untrusted(pb.DialBackReport(), talk.report, "the dial-back report")
            return Report(report.helper, report.status)
        case _:
            raise DecodeError("a dial-back message of no known kind")


def encode_order(order: Order) -> bytes:
    """Returns the message to a helper, without a length; larger than the probe it asks for."""
    return pb.DialBackOrder(
        address=order.address.to_bytes(),
        nonce=order.nonce,
        asker=order.asker,
        helperIp=ipaddress.ip_address(order.helper_ip).packed,
    ).SerializeToString()


def decode_order_untrusted(data: bytes) -> Order:
    """Raises DecodeError where a part is missing or malformed."""
    order = parse_untrusted(pb.DialBackOrder(), data, "the dial-back order")
    if len(order.nonce) != NONCE_SIZE or len(order.asker) != ASKER_SIZE:
        raise DecodeError("a dial-back order with parts of wrong size")
    return Order(
        decode_multiaddr_untrusted(order.address),
        order.nonce,
        order.asker,
        _ip_untrusted(order.helperIp),
    )


def encode_done(status: HelperStatus) -> bytes:
    """Returns a helper's answer, without a length."""
    return pb.DialBackDone(status=status).SerializeToString()


def decode_done_untrusted(data: bytes) -> HelperStatus:
    """Returns what the helper says; a number that nobody has defined is a refusal."""
    status = parse_untrusted(pb.DialBackDone(), data, "the helper's answer").status
    if status in (HelperStatus.SENT, HelperStatus.ACQUAINTED):
        return HelperStatus(status)
    return HelperStatus.REFUSED


def _ip_untrusted(packed: bytes) -> str:
    if len(packed) not in (4, 16):
        raise DecodeError("an IP address of wrong size")
    return str(ipaddress.ip_address(packed))


def _nonce_untrusted(nonce: bytes) -> bytes | None:
    if len(nonce) not in (0, NONCE_SIZE):
        raise DecodeError("a nonce of wrong size")
    return nonce or None
