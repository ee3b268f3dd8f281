"""Transport parameters: what each side tells the other inside the handshake.

Encoded as RFC 9000 section 18: id, length, value, each an integer; unknown ids are skipped.  They
travel encrypted in the payloads of messages 2 and 3, so no one on the path sees or changes them.
"""

from dataclasses import dataclass, replace
from typing import Final

from p2pnode.errors import DecodeError
from p2pnode.transports.delivery.varint import decode_varint_untrusted, encode_varint
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.frame import CONNECTION_ID_SIZE, RESET_TOKEN_SIZE

MAX_PARAMETERS: Final = 64
"""parameters that are looked at; chosen: four times what revision 1 defines"""
MIN_UDP_PAYLOAD: Final = 1200
"""bytes (RFC 9000 section 18.2)"""
MAX_ACK_DELAY_US: Final = 1 << 14 << 10
"""microseconds; RFC 9000's 2^14 ms"""

_CONNECTION_ID: Final = 0x00
_MAX_IDLE_TIMEOUT_MS: Final = 0x01
_RESET_TOKEN: Final = 0x02
_MAX_UDP_PAYLOAD: Final = 0x03
_INITIAL_MAX_DATA: Final = 0x04
_INITIAL_MAX_STREAM_DATA: Final = 0x06
_INITIAL_MAX_STREAMS: Final = 0x08
_MAX_ACK_DELAY_US: Final = 0x0B
_MAX_DATAGRAM_FRAME: Final = 0x20
_INITIAL_MAX_PATH_ID: Final = 0x21
_AEADS: Final = 0x22


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """Sizes in bytes, times as named."""

    connection_id: int
    """Under which the sender is reached on path 0."""
    reset_token: bytes
    """Belongs to `connection_id`."""
    aeads: tuple[int, ...]
    """Of the responder: offered, best first.  Of the initiator: the one selected."""
    max_idle_timeout_ms: int
    """0 for none."""
    max_udp_payload: int
    initial_max_data: int
    initial_max_stream_data: int
    initial_max_streams: int
    max_ack_delay_us: int
    max_datagram_frame: int
    """Longest DATAGRAM frame taken, 0 for none."""
    initial_max_path_id: int

    def with_aead(self, aead: Aead) -> "TransportParameters":
        """Returns the initiator's parameters, once it has selected."""
        return replace(self, aeads=(aead,))

    def encode(self) -> bytes:
        numbers = {
            _MAX_IDLE_TIMEOUT_MS: self.max_idle_timeout_ms,
            _MAX_UDP_PAYLOAD: self.max_udp_payload,
            _INITIAL_MAX_DATA: self.initial_max_data,
            _INITIAL_MAX_STREAM_DATA: self.initial_max_stream_data,
            _INITIAL_MAX_STREAMS: self.initial_max_streams,
            _MAX_ACK_DELAY_US: self.max_ack_delay_us,
            _MAX_DATAGRAM_FRAME: self.max_datagram_frame,
            _INITIAL_MAX_PATH_ID: self.initial_max_path_id,
        }
        values = {key: encode_varint(number) for key, number in numbers.items()}
        values[_CONNECTION_ID] = self.connection_id.to_bytes(CONNECTION_ID_SIZE, "big")
        values[_RESET_TOKEN] = self.reset_token
        values[_AEADS] = bytes(self.aeads)
        return b"".join(
            encode_varint(key) + encode_varint(len(value)) + value
            for key, value in sorted(values.items())
        )


def own_parameters(
    config: TransportConfig, connection_id: int, reset_token: bytes
) -> TransportParameters:
    """Returns what this side declares of a connection."""
    return TransportParameters(
        connection_id=connection_id,
        reset_token=reset_token,
        aeads=config.aeads,
        max_idle_timeout_ms=round(config.idle_timeout * 1000),
        max_udp_payload=config.max_udp_payload,
        initial_max_data=config.max_data,
        initial_max_stream_data=config.max_stream_data,
        initial_max_streams=config.max_streams,
        max_ack_delay_us=round(config.max_ack_delay * 1e6),
        max_datagram_frame=config.max_datagram_frame,
        initial_max_path_id=config.max_path_id,
    )


def decode_parameters_untrusted(encoded: bytes) -> TransportParameters:
    """Returns the parameters; raises DecodeError where one is missing, double or out of bounds."""
    values = _decode_values(encoded)

    def take(key: int) -> bytes:
        if key not in values:
            raise DecodeError(f"transport parameter {key:#x} is missing")
        return values[key]

    def number(key: int, low: int = 0, high: int | None = None) -> int:
        value, end = decode_varint_untrusted(take(key), 0)
        if end != len(values[key]) or value < low or (high is not None and value > high):
            raise DecodeError(f"transport parameter {key:#x} is out of bounds")
        return value

    connection_id, token, aeads = take(_CONNECTION_ID), take(_RESET_TOKEN), take(_AEADS)
    if len(connection_id) != CONNECTION_ID_SIZE or len(token) != RESET_TOKEN_SIZE:
        raise DecodeError("connection id or reset token of a wrong size")
    return TransportParameters(
        connection_id=int.from_bytes(connection_id, "big"),
        reset_token=token,
        aeads=tuple(aeads),
        max_idle_timeout_ms=number(_MAX_IDLE_TIMEOUT_MS),
        max_udp_payload=number(_MAX_UDP_PAYLOAD, low=MIN_UDP_PAYLOAD),
        initial_max_data=number(_INITIAL_MAX_DATA),
        initial_max_stream_data=number(_INITIAL_MAX_STREAM_DATA),
        initial_max_streams=number(_INITIAL_MAX_STREAMS, high=1 << 60),
        max_ack_delay_us=number(_MAX_ACK_DELAY_US, high=MAX_ACK_DELAY_US),
        max_datagram_frame=number(_MAX_DATAGRAM_FRAME),
        initial_max_path_id=number(_INITIAL_MAX_PATH_ID, high=(1 << 32) - 1),
    )


def select_aead(preferred: tuple[Aead, ...], offered: tuple[int, ...]) -> Aead | None:
    """Returns the initiator's best AEAD that the responder offers."""
    return next((aead for aead in preferred if aead in offered), None)


def _decode_values(encoded: bytes) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    position = 0
    while position < len(encoded):
        key, position = decode_varint_untrusted(encoded, position)
        size, position = decode_varint_untrusted(encoded, position)
        end = position + size
        if end > len(encoded) or key in values or len(values) >= MAX_PARAMETERS:
            raise DecodeError("malformed transport parameters")
        values[key] = encoded[position:end]
        position = end
    return values
