"""Transport parameters: what each side declares inside the TLS handshake (RFC 9000 section 18).

Unknown ones are passed over, and so are those of extensions that are not used here, and GREASE.
They may be believed once the handshake is complete and `check_connection_ids` has tied the
connection ids in them to those on the packets.
"""

from dataclasses import dataclass
from typing import Final

from p2pnode.errors import DecodeError, TransportError
from p2pnode.transports.delivery.varint import MAX_VARINT, decode_varint_untrusted, encode_varint
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.packet import MAX_CONNECTION_ID_SIZE, MIN_INITIAL_SIZE

MAX_PARAMETERS: Final = 64
"""parameters that are looked at; chosen: three times what RFC 9000 defines, for extensions"""
RESET_TOKEN_SIZE: Final = 16
"""bytes; RFC 9000 section 10.3"""
MAX_STREAM_COUNT: Final = 1 << 60
"""streams of a kind in all; RFC 9000 section 4.6: more would not fit a stream id"""
MAX_ACK_DELAY_EXPONENT: Final = 20
"""RFC 9000 section 18.2"""
MAX_ACK_DELAY_MS: Final = (1 << 14) - 1
"""ms; RFC 9000 section 18.2"""
MIN_CONNECTION_IDS: Final = 2
"""connection ids that everybody keeps for the peer; RFC 9000 section 18.2"""

DEFAULT_UDP_PAYLOAD: Final = 65527
"""bytes; RFC 9000 section 18.2"""
DEFAULT_ACK_DELAY_EXPONENT: Final = 3
"""RFC 9000 section 18.2"""
DEFAULT_ACK_DELAY_MS: Final = 25
"""ms; RFC 9000 section 18.2"""

_ORIGINAL_DESTINATION: Final = 0x00
_MAX_IDLE_TIMEOUT_MS: Final = 0x01
_RESET_TOKEN: Final = 0x02
_MAX_UDP_PAYLOAD: Final = 0x03
_INITIAL_MAX_DATA: Final = 0x04
_INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: Final = 0x05
_INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: Final = 0x06
_INITIAL_MAX_STREAM_DATA_UNI: Final = 0x07
_INITIAL_MAX_STREAMS_BIDI: Final = 0x08
_INITIAL_MAX_STREAMS_UNI: Final = 0x09
_ACK_DELAY_EXPONENT: Final = 0x0A
_MAX_ACK_DELAY_MS: Final = 0x0B
_DISABLE_ACTIVE_MIGRATION: Final = 0x0C
_PREFERRED_ADDRESS: Final = 0x0D
_ACTIVE_CONNECTION_ID_LIMIT: Final = 0x0E
_INITIAL_SOURCE: Final = 0x0F
_RETRY_SOURCE: Final = 0x10
_MAX_DATAGRAM_FRAME: Final = 0x20

_SERVER_ONLY: Final = (_ORIGINAL_DESTINATION, _RESET_TOKEN, _PREFERRED_ADDRESS, _RETRY_SOURCE)
_PREFERRED_ID_AT: Final = 4 + 2 + 16 + 2
"""bytes of addresses and ports in front of a preferred address' connection id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportParameters:
    """With RFC 9000's defaults.  Sizes in bytes, times as named, ids are connection ids."""

    initial_source: bytes
    """The source of the sender's first Initial."""
    original_destination: bytes | None = None
    """Server's: where the client's first Initial went."""
    retry_source: bytes | None = None
    """Server's: the source of its Retry, where there was one."""
    reset_token: bytes | None = None
    """Server's: belongs to `initial_source`."""
    max_idle_timeout_ms: int = 0
    """0 for none."""
    max_udp_payload: int = DEFAULT_UDP_PAYLOAD
    initial_max_data: int = 0
    initial_max_stream_data_bidi_local: int = 0
    """For streams that who declares this opens."""
    initial_max_stream_data_bidi_remote: int = 0
    """For streams that are opened towards who declares this."""
    initial_max_stream_data_uni: int = 0
    initial_max_streams_bidi: int = 0
    initial_max_streams_uni: int = 0
    ack_delay_exponent: int = DEFAULT_ACK_DELAY_EXPONENT
    """Delays in its ACKs are in units of 2^this microseconds."""
    max_ack_delay_ms: int = DEFAULT_ACK_DELAY_MS
    is_migration_disabled: bool = False
    active_connection_id_limit: int = MIN_CONNECTION_IDS
    """Ids of the other side that it keeps at a time."""
    max_datagram_frame: int = 0
    """Longest DATAGRAM frame that it takes, 0 for none (RFC 9221)."""

    def encode(self) -> bytes:
        """Returns the content of the TLS extension."""
        numbers = {
            _MAX_IDLE_TIMEOUT_MS: self.max_idle_timeout_ms,
            _MAX_UDP_PAYLOAD: self.max_udp_payload,
            _INITIAL_MAX_DATA: self.initial_max_data,
            _INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: self.initial_max_stream_data_bidi_local,
            _INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: self.initial_max_stream_data_bidi_remote,
            _INITIAL_MAX_STREAM_DATA_UNI: self.initial_max_stream_data_uni,
            _INITIAL_MAX_STREAMS_BIDI: self.initial_max_streams_bidi,
            _INITIAL_MAX_STREAMS_UNI: self.initial_max_streams_uni,
            _ACK_DELAY_EXPONENT: self.ack_delay_exponent,
            _MAX_ACK_DELAY_MS: self.max_ack_delay_ms,
            _ACTIVE_CONNECTION_ID_LIMIT: self.active_connection_id_limit,
        }
        values: dict[int, bytes | None] = {
            key: encode_varint(number) for key, number in numbers.items()
        }
        values[_INITIAL_SOURCE] = self.initial_source
        values[_ORIGINAL_DESTINATION] = self.original_destination
        values[_RETRY_SOURCE] = self.retry_source
        values[_RESET_TOKEN] = self.reset_token
        if self.max_datagram_frame:
            values[_MAX_DATAGRAM_FRAME] = encode_varint(self.max_datagram_frame)
        if self.is_migration_disabled:
            values[_DISABLE_ACTIVE_MIGRATION] = b""
        return b"".join(
            encode_varint(key) + encode_varint(len(value)) + value
            for key, value in sorted(values.items(), key=lambda item: item[0])
            if value is not None
        )


def decode_parameters_untrusted(encoded: bytes, *, is_server: bool) -> TransportParameters:
    """Returns what a peer declares; `is_server` is the peer.

    Raises DecodeError, for a TRANSPORT_PARAMETER_ERROR, where one is double, out of bounds, not
    its sender's to declare, or where the one that everybody must declare is missing.
    """
    values = _decode_values(encoded)
    if not is_server and any(key in values for key in _SERVER_ONLY):
        raise DecodeError("a client declares what only a server may")

    def number(key: int, default: int, low: int = 0, high: int = MAX_VARINT) -> int:
        value = values.get(key)
        if value is None:
            return default
        found, end = decode_varint_untrusted(value, 0)
        if end != len(value) or not low <= found <= high:
            raise DecodeError(f"transport parameter {key:#x} is out of bounds")
        return found

    def sized(key: int, low: int, high: int) -> bytes | None:
        value = values.get(key)
        if value is not None and not low <= len(value) <= high:
            raise DecodeError(f"transport parameter {key:#x} has a wrong size")
        return value

    initial_source = sized(_INITIAL_SOURCE, 0, MAX_CONNECTION_ID_SIZE)
    if initial_source is None:
        raise DecodeError("initial_source_connection_id is missing")
    _check_preferred_address(values.get(_PREFERRED_ADDRESS))
    return TransportParameters(
        initial_source=initial_source,
        original_destination=sized(_ORIGINAL_DESTINATION, 0, MAX_CONNECTION_ID_SIZE),
        retry_source=sized(_RETRY_SOURCE, 0, MAX_CONNECTION_ID_SIZE),
        reset_token=sized(_RESET_TOKEN, RESET_TOKEN_SIZE, RESET_TOKEN_SIZE),
        max_idle_timeout_ms=number(_MAX_IDLE_TIMEOUT_MS, 0),
        max_udp_payload=number(_MAX_UDP_PAYLOAD, DEFAULT_UDP_PAYLOAD, low=MIN_INITIAL_SIZE),
        initial_max_data=number(_INITIAL_MAX_DATA, 0),
        initial_max_stream_data_bidi_local=number(_INITIAL_MAX_STREAM_DATA_BIDI_LOCAL, 0),
        initial_max_stream_data_bidi_remote=number(_INITIAL_MAX_STREAM_DATA_BIDI_REMOTE, 0),
        initial_max_stream_data_uni=number(_INITIAL_MAX_STREAM_DATA_UNI, 0),
        initial_max_streams_bidi=number(_INITIAL_MAX_STREAMS_BIDI, 0, high=MAX_STREAM_COUNT),
        initial_max_streams_uni=number(_INITIAL_MAX_STREAMS_UNI, 0, high=MAX_STREAM_COUNT),
        ack_delay_exponent=number(
            _ACK_DELAY_EXPONENT, DEFAULT_ACK_DELAY_EXPONENT, high=MAX_ACK_DELAY_EXPONENT
        ),
        max_ack_delay_ms=number(_MAX_ACK_DELAY_MS, DEFAULT_ACK_DELAY_MS, high=MAX_ACK_DELAY_MS),
        is_migration_disabled=sized(_DISABLE_ACTIVE_MIGRATION, 0, 0) is not None,
        active_connection_id_limit=number(
            _ACTIVE_CONNECTION_ID_LIMIT, MIN_CONNECTION_IDS, low=MIN_CONNECTION_IDS
        ),
        max_datagram_frame=number(_MAX_DATAGRAM_FRAME, 0),
    )


def check_connection_ids(
    parameters: TransportParameters,
    *,
    source: bytes,
    original_destination: bytes | None,
    retry_source: bytes | None,
) -> None:
    """Compares the ids in a peer's parameters with those on the packets (RFC 9000 section 7.3).

    `source` is that of its first Initial.  Of a client the other two are None; of a server they
    are where our first Initial went, and the source of its Retry, None where there was none.
    Raises TransportError: somebody on the path has changed what was not protected.
    """
    found = parameters.initial_source, parameters.original_destination, parameters.retry_source
    if found != (source, original_destination, retry_source):
        raise TransportError(
            ErrorCode.TRANSPORT_PARAMETER_ERROR, "connection ids differ from those on packets"
        )


def _check_preferred_address(value: bytes | None) -> None:
    """It is never used, but has to be one: RFC 9000 section 18.2, with a non-empty id."""
    if value is None:
        return
    size = value[_PREFERRED_ID_AT] if len(value) > _PREFERRED_ID_AT else 0
    expected = _PREFERRED_ID_AT + 1 + size + RESET_TOKEN_SIZE
    if not 0 < size <= MAX_CONNECTION_ID_SIZE or len(value) != expected:
        raise DecodeError("a malformed preferred address")


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
