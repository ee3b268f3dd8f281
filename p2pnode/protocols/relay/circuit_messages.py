"""The messages of datagram circuits, the same for hop and stop (specs/relay.md).

    CONNECT   client -> relay, relay -> listener   who with, and the id that we receive by
    STATUS    the answer                           the other side's id, and what is allowed
    CLOSING   relay -> both ends, while open       the circuit will end, why, and when

Rule: each side names the circuit id that it wants to *receive* by, so that nobody can make another
one's table collide.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.pb import circuit_pb2
from p2pnode.wire.protobuf import parse_untrusted

CIRCUIT_ID_SIZE = 8  # bytes; chosen: nobody guesses it, and packets keep a fixed offset
MAX_GRACE = 3600.0  # seconds between notice and end that are believed; chosen
_MAX_U32 = (1 << 32) - 1
_MAX_U64 = (1 << 64) - 1


class CircuitType(enum.IntEnum):
    CONNECT = 0
    STATUS = 1
    CLOSING = 2


@dataclass(frozen=True, slots=True)
class DatagramLimit:
    """What a relay allows a datagram circuit, in each direction; 0 is no limit."""

    rate: int = 0
    """Bytes a second: more is dropped, the circuit goes on."""
    duration: int = 0
    """Seconds."""
    data: int = 0
    """Bytes."""


NO_LIMIT = DatagramLimit()


@dataclass(frozen=True, slots=True)
class CircuitConnect:
    peer: PeerId
    """To the relay: whom we want.  From the relay: who wants us."""
    circuit_id: bytes
    limit: DatagramLimit = NO_LIMIT
    """From the relay."""


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    status: int
    """A `Status`, or a number that this revision does not know."""
    circuit_id: bytes = b""
    """With OK."""
    limit: DatagramLimit = NO_LIMIT
    """From the relay, with OK."""


@dataclass(frozen=True, slots=True)
class CircuitClosing:
    status: int
    """Why."""
    grace: float
    """Seconds until the end."""


CircuitMessage: TypeAlias = CircuitConnect | CircuitStatus | CircuitClosing


def encode_circuit(message: CircuitMessage) -> bytes:
    """Returns the CircuitMessage without a length."""
    match message:
        case CircuitConnect(peer, circuit_id, limit):
            assert len(circuit_id) == CIRCUIT_ID_SIZE
            out = circuit_pb2.CircuitMessage(
                type=CircuitType.CONNECT, peer=peer.multihash, circuit_id=circuit_id
            )
            if limit != NO_LIMIT:
                out.limit = _encode_limit(limit)
        case CircuitStatus(status, circuit_id, limit):
            out = circuit_pb2.CircuitMessage(type=CircuitType.STATUS, status=status)
            if circuit_id:
                out.circuit_id = circuit_id
            if limit != NO_LIMIT:
                out.limit = _encode_limit(limit)
        case CircuitClosing(status, grace):
            milliseconds = round(1000 * min(max(grace, 0.0), MAX_GRACE))
            out = circuit_pb2.CircuitMessage(
                type=CircuitType.CLOSING, status=status, grace_ms=milliseconds
            )
    return out.SerializeToString()


def decode_circuit_untrusted(data: bytes) -> CircuitMessage:
    """Raises DecodeError, also for a type or a field that is missing."""
    message = parse_untrusted(circuit_pb2.CircuitMessage(), data, "a circuit message")
    if not message.HasField("type"):
        raise DecodeError("a circuit message lacks its type")
    match message.type:
        case CircuitType.CONNECT:
            return CircuitConnect(
                PeerId.decode_untrusted(message.peer),
                _circuit_id_untrusted(message.circuit_id),
                _decode_limit_untrusted(message.limit),
            )
        case CircuitType.STATUS:
            return CircuitStatus(
                message.status,
                _circuit_id_untrusted(message.circuit_id) if message.circuit_id else b"",
                _decode_limit_untrusted(message.limit),
            )
        case CircuitType.CLOSING:
            return CircuitClosing(message.status, min(message.grace_ms / 1000, MAX_GRACE))
        case _:
            raise DecodeError(f"a circuit message of the unknown type {message.type}")


def _circuit_id_untrusted(data: bytes) -> bytes:
    if len(data) != CIRCUIT_ID_SIZE:
        raise DecodeError(f"a circuit id of {len(data)} bytes")
    return data


def _encode_limit(limit: DatagramLimit) -> bytes:
    assert 0 <= limit.duration <= _MAX_U32
    assert 0 <= limit.rate <= _MAX_U64
    assert 0 <= limit.data <= _MAX_U64
    message = circuit_pb2.DatagramLimit(rate=limit.rate, duration=limit.duration, data=limit.data)
    return message.SerializeToString()


def _decode_limit_untrusted(data: bytes) -> DatagramLimit:
    message = parse_untrusted(circuit_pb2.DatagramLimit(), data, "a circuit's limit")
    return DatagramLimit(message.rate, message.duration, message.data)
