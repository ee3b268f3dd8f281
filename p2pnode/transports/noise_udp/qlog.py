"""What a connection does, as qlog events (draft-ietf-quic-qlog-main-schema, JSON text sequences).

A machine does no I/O: lines are collected here and whoever drives the endpoint writes them.
Nothing is recorded unless the user asked for it; then clarity counts and speed does not.  No secret
and no application data goes into a line.
"""

import json
from typing import Final

from p2pnode.clock import Instant, UnixTime
from p2pnode.errors import DecodeError
from p2pnode.transports.datagrams.frame import ConnectionClose, NewToken
from p2pnode.transports.delivery.frame import STREAM_TYPES, FrameType, decode_stream_untrusted
from p2pnode.transports.delivery.loss_recovery import SentPacket
from p2pnode.transports.noise_udp.frame import (
    Datagram,
    Frame,
    NewConnectionId,
    decode_frame_untrusted,
)
from p2pnode.transports.noise_udp.path import Path

MAX_LINES: Final = 20_000
"""lines that wait for the writer; chosen: what a second of a fast transfer makes"""


class Qlog:
    """The events of one connection."""

    def __init__(self, *, is_initiator: bool, title: str, now: Instant, unix_now: UnixTime) -> None:
        self._start = now
        self._lines: list[str] = []
        self._dropped = 0
        self.name = f"{title}_{'client' if is_initiator else 'server'}"
        """For a file name; the same on both sides but for the role."""
        header = {
            "qlog_version": "0.3",
            "qlog_format": "JSON-SEQ",
            "title": title,
            "trace": {
                "vantage_point": {"type": "client" if is_initiator else "server"},
                "common_fields": {
                    "protocol_type": ["noise-udp"],
                    "time_format": "relative",
                    "reference_time": round(unix_now * 1000, 3),
                },
            },
        }
        self._lines.append(json.dumps(header, separators=(",", ":")))

    def packet_sent(
        self, now: Instant, path_id: int, number: int, size: int, payload: bytes
    ) -> None:
        self._packet("transport:packet_sent", now, path_id, number, size, payload)

    def packet_received(
        self, now: Instant, path_id: int, number: int, size: int, payload: bytes
    ) -> None:
        self._packet("transport:packet_received", now, path_id, number, size, payload)

    def packets_lost(self, now: Instant, path_id: int, packets: list[SentPacket]) -> None:
        for packet in packets:
            header = _header(path_id, packet.packet_number)
            self.event(now, "recovery:packet_lost", {"header": header})

    def metrics(self, now: Instant, path: Path) -> None:
        """What is measured on a path; durations in ms, as qlog has them."""
        data = {
            "path_id": path.path_id,
            "smoothed_rtt": round(path.rtt.smoothed * 1000, 3),
            "latest_rtt": round(path.rtt.latest * 1000, 3),
            "congestion_window": path.controller.window,
            "bytes_in_flight": path.recovery.bytes_in_flight,
            "mtu": path.mtu.current,
        }
        self.event(now, "recovery:metrics_updated", data)

    def event(self, now: Instant, name: str, data: object) -> None:
        """Adds one event; drops it where nobody has taken the earlier ones for long."""
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        line = {"time": round((now - self._start) * 1000, 3), "name": name, "data": data}
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def poll_lines(self) -> list[str]:
        """Returns the JSON texts since the last call, without record separators."""
        lines, self._lines = self._lines, []
        if self._dropped:
            lines.append(json.dumps({"name": "qlog:dropped", "data": {"events": self._dropped}}))
            self._dropped = 0
        return lines

    def _packet(
        self, name: str, now: Instant, path_id: int, number: int, size: int, payload: bytes
    ) -> None:
        data = {
            "header": _header(path_id, number),
            "raw": {"length": size},
            "frames": describe_frames(payload),
        }
        self.event(now, name, data)


def describe_frames(payload: bytes) -> list[dict[str, object]]:
    """Returns a packet's frames in qlog's words: facts, no contents."""
    frames: list[dict[str, object]] = []
    position = 0
    try:
        while position < len(payload):
            kind = payload[position]
            if kind == FrameType.PADDING:
                end = len(payload) - len(payload[position:].lstrip(b"\0"))
                end = end if end > position else len(payload)
                frames.append({"frame_type": "padding", "length": end - position})
                position = end
            elif kind in STREAM_TYPES:
                stream, offset, data, fin, position = decode_stream_untrusted(payload, position)
                described = {"stream_id": stream, "offset": offset, "length": len(data), "fin": fin}
                frames.append({"frame_type": "stream", **described})
            else:
                frame, position = decode_frame_untrusted(payload, position)
                frames.append({"frame_type": FrameType(kind).name.lower(), **_facts(frame)})
    except DecodeError as error:
        frames.append({"frame_type": "unknown", "error": str(error)})
    return frames


def _facts(frame: Frame) -> dict[str, object]:
    match frame:
        case ConnectionClose(code, frame_type, reason, is_application):
            space = "application" if is_application else "transport"
            trigger = {"trigger_frame_type": frame_type}
            return {"error_space": space, "error_code": code, "reason": reason, **trigger}
        case Datagram(data):
            return {"length": len(data)}
        case NewToken() | NewConnectionId():
            return {"length": len(frame.encode())}
        case _:
            return {
                key: value.hex() if isinstance(value, bytes) else value
                for key, value in frame._asdict().items()
            }


def _header(path_id: int, number: int) -> dict[str, object]:
    return {"packet_type": "1RTT", "packet_number": number, "path_id": path_id}
