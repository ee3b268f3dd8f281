"""Gives the frames about streams that are no STREAM to the streams."""

from p2pnode.transports.delivery.frame import (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
)
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.quic_v1.frame import Frame


def handle_stream_frame(streams: StreamSet, frame: Frame) -> None:
    """Takes a frame of 1-RTT; one that is about something else means nothing here.

    Raises TransportError.
    """
    match frame:
        case MaxData():
            streams.handle_max_data(frame)
        case MaxStreamData():
            streams.handle_max_stream_data(frame)
        case MaxStreams():
            streams.handle_max_streams(frame)
        case ResetStream():
            streams.handle_reset_stream(frame)
        case StopSending():
            streams.handle_stop_sending(frame)
        case StreamDataBlocked():
            streams.handle_stream_data_blocked(frame)
        case _:
            pass  # PING, and what the peer would send if it were allowed to
