"""The messages of circuit relay v2's hop and stop protocols (specs/relay.md, Wire format).

Rules: a type or status of 0 is emitted, because libp2p demands the field; an address that does not
parse is left out, the rest counts; a status of a later revision is kept as its number.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.multiaddr import Multiaddr, decode_multiaddr_untrusted
from p2pnode.wire.pb import relay_pb2
from p2pnode.wire.protobuf import parse_untrusted

MAX_MESSAGE_SIZE = 4096  # bytes; go-libp2p
MAX_ADDRS = 32  # of a reservation or peer, kept and sent; chosen: go's relays have a handful
MAX_ADDRS_SIZE = 2048  # bytes of addresses in a message of ours; chosen: half of the message

_MAX_U32 = (1 << 32) - 1
_MAX_U64 = (1 << 64) - 1


class Status(enum.IntEnum):
    """How a relay or listener answers; everything but OK is a refusal."""

    UNUSED = 0
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


class HopType(enum.IntEnum):
    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(enum.IntEnum):
    CONNECT = 0
    STATUS = 1


@dataclass(frozen=True, slots=True)
class Limit:
    """What a relay allows a stream circuit; 0 is no limit."""

    duration: int = 0
    """Seconds."""
    data: int = 0
    """Bytes in each direction."""

    @property
    def is_unlimited(self) -> bool:
        return not self.duration and not self.data


@dataclass(frozen=True, slots=True)
class Reservation:
    """A relay's promise, as it is told to the client."""

    expire: int
    """Unix time, seconds."""
    addrs: tuple[Multiaddr, ...] = ()
    """The relay's own addresses with its /p2p, without /p2p-circuit."""
    voucher: bytes | None = None
    """An encoded envelope, unchecked."""


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """HOP RESERVE.  Who asks is known from the connection, never from the message."""


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """HOP CONNECT: the client wants a circuit to `peer`."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class HopStatus:
    """HOP STATUS: the relay's answer to either."""

    status: int
    """A `Status`, or a number that this revision does not know."""
    reservation: Reservation | None = None
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class StopConnect:
    """STOP CONNECT: the relay announces a circuit from `peer`."""

    peer: PeerId
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class StopStatus:
    """STOP STATUS: the listener's answer."""

    status: int


HopMessage: TypeAlias = ReserveRequest | ConnectRequest | HopStatus
StopMessage: TypeAlias = StopConnect | StopStatus


def status_name(status: int) -> str:
    """Returns the status for people, also one that this revision does not know."""
    try:
        return Status(status).name
    except ValueError:
        return f"status {status}"


def encode_hop(message: HopMessage) -> bytes:
    """Returns the HopMessage without a length."""
    match message:
        case ReserveRequest():
            out = relay_pb2.HopMessage(type=HopType.RESERVE)
        case ConnectRequest(peer):
            out = relay_pb2.HopMessage(type=HopType.CONNECT, peer=_encode_peer(peer))
        case HopStatus(status, reservation, limit):
            out = relay_pb2.HopMessage(type=HopType.STATUS, status=status)
            if reservation is not None:
                out.reservation = _encode_reservation(reservation)
            if limit is not None:
                out.limit = _encode_limit(limit)
    return out.SerializeToString()


def encode_stop(message: StopMessage) -> bytes:
    """Returns the StopMessage without a length."""
    match message:
        case StopConnect(peer, limit):
            out = relay_pb2.StopMessage(type=StopType.CONNECT, peer=_encode_peer(peer))
            if limit is not None:
                out.limit = _encode_limit(limit)
        case StopStatus(status):
            out = relay_pb2.StopMessage(type=StopType.STATUS, status=status)
    return out.SerializeToString()


def decode_hop_untrusted(data: bytes) -> HopMessage:
    """Raises DecodeError, also for a type or a field that is missing."""
    message = parse_untrusted(relay_pb2.HopMessage(), data, "a hop message")
    if not message.HasField("type"):
        raise DecodeError("a hop message lacks its type")
    match message.type:
        case HopType.RESERVE:
            return ReserveRequest()
        case HopType.CONNECT:
            return ConnectRequest(_decode_peer_untrusted(message.peer))
        case HopType.STATUS:
            return HopStatus(
                message.status,  # absent: 0, which is a refusal
                _decode_reservation_untrusted(message.reservation)
                if message.HasField("reservation")
                else None,
                _decode_limit_untrusted(message.limit) if message.HasField("limit") else None,
            )
        case _:
            raise DecodeError(f"a hop message of the unknown type {message.type}")


def decode_stop_untrusted(data: bytes) -> StopMessage:
    """Raises DecodeError, also for a type or a field that is missing."""
    message = parse_untrusted(relay_pb2.StopMessage(), data, "a stop message")
    if not message.HasField("type"):
        raise DecodeError("a stop message lacks its type")
    match message.type:
        case StopType.CONNECT:
            return StopConnect(
                _decode_peer_untrusted(message.peer),
                _decode_limit_untrusted(message.limit) if message.HasField("limit") else None,
            )
        case StopType.STATUS:
            return StopStatus(message.status)
        case _:
            raise DecodeError(f"a stop message of the unknown type {message.type}")


def _encode_peer(peer: PeerId) -> bytes:
    return relay_pb2.RelayPeer(id=peer.multihash).SerializeToString()


def _decode_peer_untrusted(data: bytes) -> PeerId:
    message = parse_untrusted(relay_pb2.RelayPeer(), data, "a peer in a relay's message")
    return PeerId.decode_untrusted(message.id)


def _encode_reservation(reservation: Reservation) -> bytes:
    assert 0 <= reservation.expire <= _MAX_U64
    addrs: list[bytes] = []
    size = 0
    for addr in reservation.addrs[:MAX_ADDRS]:
        raw = addr.to_bytes()
        size += len(raw)
        if size > MAX_ADDRS_SIZE:
            break
        addrs.append(raw)
    message = relay_pb2.Reservation(expire=reservation.expire, addrs=addrs)
    if reservation.voucher is not None:
        message.voucher = reservation.voucher
    return message.SerializeToString()


def _decode_reservation_untrusted(data: bytes) -> Reservation:
    message = parse_untrusted(relay_pb2.Reservation(), data, "a reservation")
    if not message.HasField("expire"):
        raise DecodeError("a reservation does not say when it ends")
    return Reservation(
        message.expire, _usable_addrs_untrusted(message.addrs), message.voucher or None
    )


def _encode_limit(limit: Limit) -> bytes:
    assert 0 <= limit.duration <= _MAX_U32
    assert 0 <= limit.data <= _MAX_U64
    message = relay_pb2.CircuitLimit(duration=limit.duration, data=limit.data)
    return message.SerializeToString()


def _decode_limit_untrusted(data: bytes) -> Limit:
    message = parse_untrusted(relay_pb2.CircuitLimit(), data, "a limit")
    return Limit(message.duration, message.data)


def _usable_addrs_untrusted(raw_addrs: Iterable[bytes]) -> tuple[Multiaddr, ...]:
    addrs: dict[Multiaddr, None] = {}
    for raw in raw_addrs:
        if len(addrs) == MAX_ADDRS:
            break
        try:
            addrs[decode_multiaddr_untrusted(raw)] = None
        except DecodeError:
            continue
    return tuple(addrs)
