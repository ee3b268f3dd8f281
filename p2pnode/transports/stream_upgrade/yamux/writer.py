"""The frames of a yamux session, made when there is room on the link (specs/yamux.md, Sending).

The rules: only whole frames leave; those that carry no data come first; a byte of data is copied
once, when the frames of one call are joined; among streams with data each has one frame in turn.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.transports.stream_upgrade.yamux.frame import (
    HEADER_SIZE,
    SESSION_ID,
    Flag,
    FrameType,
    encode_header,
)
from p2pnode.transports.stream_upgrade.yamux.pings import Pings
from p2pnode.transports.stream_upgrade.yamux.streams import YamuxStreams

MAX_FRAME: Final = 64 * 1024
"""bytes with the header; go-yamux sends no longer ones, and js-libp2p takes no longer ones"""
QUANTUM: Final = 16 * 1024
"""bytes of a frame's data while several streams wait; chosen: rust's size, and noise-udp's turn"""
MIN_DATA: Final = 1024
"""bytes of data below which a frame waits for more room, where others fill the room already;
chosen: 1 % of header"""


class FrameWriter:
    """Makes frames of what streams and pings have to send."""

    __slots__ = ("_pieces", "_pings", "_room", "_streams")

    def __init__(self, streams: YamuxStreams, pings: Pings) -> None:
        self._streams = streams
        self._pings = pings
        self._room = 0
        self._pieces: list[bytes | memoryview] = []

    @property
    def has_output(self) -> bool:
        pings = self._pings
        return self._streams.has_pending or bool(pings.answers) or pings.is_due

    def write(self, room: int, now: Instant) -> bytes:
        """Returns frames of at most `room` bytes together; b"" where there are none, or no room."""
        self._room = room
        self._write_answers()
        self._write_ping(now)
        self._write_resets()
        self._write_control(now)
        self._write_data()
        self._write_ping(now)
        pieces = self._pieces
        if not pieces:
            return b""
        self._pieces = []
        return b"".join(pieces)

    def _add(self, frame_type: FrameType, flags: int, stream_id: int, length: int) -> None:
        self._pieces.append(encode_header(frame_type, flags, stream_id, length))
        self._room -= HEADER_SIZE

    def _write_answers(self) -> None:
        answers = self._pings.answers
        count = min(len(answers), self._room // HEADER_SIZE)
        for number in answers[:count]:
            self._add(FrameType.PING, Flag.ACK, SESSION_ID, number)
        del answers[:count]

    def _write_ping(self, now: Instant) -> None:
        if self._pings.is_due and self._room >= HEADER_SIZE:
            self._add(FrameType.PING, Flag.SYN, SESSION_ID, self._pings.take(now))

    def _write_resets(self) -> None:
        resets = self._streams.resets
        for stream_id in list(resets)[: self._room // HEADER_SIZE]:
            self._add(FrameType.WINDOW_UPDATE, Flag.RST, stream_id, resets.pop(stream_id))

    def _write_control(self, now: Instant) -> None:
        streams = self._streams
        control = streams.control
        rtt = self._pings.rtt or 0.0
        for stream_id in list(control)[: self._room // HEADER_SIZE]:
            flags = control.pop(stream_id)
            delta = streams.take_credit(stream_id, now, rtt)
            if flags or delta:
                self._add(FrameType.WINDOW_UPDATE, flags, stream_id, delta)

    def _write_data(self) -> None:
        streams = self._streams
        fresh = streams.fresh
        if streams.control:
            return  # a stream's first frame is among those that found no room
        while fresh and self._room > HEADER_SIZE:
            stream_id = next(iter(fresh))
            send = fresh[stream_id]
            size = min(send.sendable, self._room - HEADER_SIZE)
            size = min(size, QUANTUM if len(fresh) > 1 else MAX_FRAME - HEADER_SIZE)
            if size < MIN_DATA and size < send.sendable and self._pieces:
                return
            del fresh[stream_id]
            if size > 0:
                self._add(FrameType.DATA, 0, stream_id, size)
                self._pieces.append(send.take(size))
                self._room -= size
                streams.on_taken(send, size)
            if send.is_fin_due and self._room >= HEADER_SIZE:
                self._add(FrameType.WINDOW_UPDATE, Flag.FIN, stream_id, 0)
                streams.on_fin_sent(send)
            elif send.sendable > 0 or send.is_fin_due:
                fresh[stream_id] = send
