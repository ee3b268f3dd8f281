"""What we declare, and what of both declarations the streams need."""

from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.connection_id import MAX_REMOTE_IDS
from p2pnode.transports.quic_v1.parameters import TransportParameters

ID_KIND_BITS = 2
"""Who opened a stream, and in how many directions it goes (RFC 9000 section 2.1)."""


class StreamLimits:
    """What one side's transport parameters allow, as `StreamSet` asks for it.

    A peer may allow the streams that it opens another window than those that we do: the smaller one
    is kept to for both.
    """

    __slots__ = ("initial_max_data", "initial_max_stream_data", "initial_max_streams")

    def __init__(self, parameters: TransportParameters) -> None:
        self.initial_max_data = parameters.initial_max_data
        self.initial_max_stream_data = min(
            parameters.initial_max_stream_data_bidi_local,
            parameters.initial_max_stream_data_bidi_remote,
        )
        self.initial_max_streams = parameters.initial_max_streams_bidi


def own_parameters(
    config: QuicConfig,
    source: bytes,
    *,
    original_destination: bytes | None = None,
    retry_source: bytes | None = None,
    reset_token: bytes | None = None,
) -> TransportParameters:
    """Returns what we declare; the last three are a server's."""
    return TransportParameters(
        initial_source=source,
        original_destination=original_destination,
        retry_source=retry_source,
        reset_token=reset_token,
        max_idle_timeout_ms=round(config.idle_timeout * 1000),
        max_udp_payload=config.max_udp_payload,
        initial_max_data=config.max_data,
        initial_max_stream_data_bidi_local=config.max_stream_data,
        initial_max_stream_data_bidi_remote=config.max_stream_data,
        initial_max_streams_bidi=config.max_streams,
        max_ack_delay_ms=round(config.max_ack_delay * 1000),
        active_connection_id_limit=MAX_REMOTE_IDS,
    )
