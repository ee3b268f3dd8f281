"""Two StreamSets back to back: their packets as bytes, without packet numbers or encryption."""

from dataclasses import dataclass
from typing import NamedTuple

from p2pnode.transports.delivery.frame import (
    STREAM_TYPES,
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
    decode_stream_untrusted,
)
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from p2pnode.transports.delivery.stream_set import StreamSet
from p2pnode.transports.noise_udp.frame import decode_frame_untrusted

ROOM = 1200


class Limits(NamedTuple):
    initial_max_data: int = 100_000
    initial_max_stream_data: int = 50_000
    initial_max_streams: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """Two packets with the same content are still two."""

    payload: bytes
    records: tuple

    def acked(self):
        for owner, a, b, c in self.records:
            owner.on_acked(a, b, c)

    def lost(self):
        for owner, a, b, c in self.records:
            owner.on_lost(a, b, c)


def pair(limits=Limits(), remote=None):  # noqa: B008
    """Returns an initiator that allows `limits` and a responder that allows `remote`."""
    remote = remote or limits
    return StreamSet(True, limits, remote, 0.0), StreamSet(False, remote, limits, 0.0)


def packet(streams, room=ROOM, now=0.0, rtt=0.0):
    """Returns what the next packet carries, or None where there is nothing to send."""
    if not streams.has_pending:
        return None
    builder = PacketBuilder(room)
    streams.write_frames(builder, now, rtt)
    payload = b"".join(builder.chunks)
    assert len(payload) + builder.room == room
    return Packet(payload, tuple(builder.records))


def frames(payload):
    """Returns the frames; those with data as (stream id, offset, data, fin)."""
    found, position = [], 0
    while position < len(payload):
        if payload[position] in STREAM_TYPES:
            *fields, position = decode_stream_untrusted(payload, position)
            found.append(tuple(fields))
        else:
            frame, position = decode_frame_untrusted(payload, position)
            found.append(frame)
    return found


def deliver(payload, to):
    for frame in frames(payload):
        match frame:
            case MaxData():
                to.handle_max_data(frame)
            case MaxStreamData():
                to.handle_max_stream_data(frame)
            case MaxStreams():
                to.handle_max_streams(frame)
            case ResetStream():
                to.handle_reset_stream(frame)
            case StopSending():
                to.handle_stop_sending(frame)
            case StreamDataBlocked():
                to.handle_stream_data_blocked(frame)
            case DataBlocked() | StreamsBlocked():
                pass
            case _:
                to.handle_stream(*frame)


def exchange(a, b, room=ROOM):
    """Lets both sides send until neither has anything, without loss."""
    while True:
        moved = False
        for sender, receiver in ((a, b), (b, a)):
            while (sent := packet(sender, room)) is not None and sent.payload:
                deliver(sent.payload, receiver)
                sent.acked()
                moved = True
        if not moved:
            return
