"""Two yamux sessions on a link that the test moves, and frames made by hand."""

import struct
from dataclasses import dataclass, field

from p2pnode.transports.stream_events import StreamEvent
from p2pnode.transports.stream_upgrade.yamux import YamuxSession

DATA, UPDATE, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW = 256 * 1024
ROOM = 1 << 20


def frame(kind: int, flags: int, stream: int, length: int = 0, data: bytes = b"") -> bytes:
    """Returns a frame; `length` is that of the data where there is some."""
    return struct.pack(">BBHII", 0, kind, flags, stream, len(data) or length) + data


def frames(output: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """Returns (type, flags, stream, length, data) of each frame; fails where one is not whole."""
    found, at = [], 0
    while at < len(output):
        version, kind, flags, stream, length = struct.unpack_from(">BBHII", output, at)
        assert version == 0
        at += 12
        data = output[at : at + length] if kind == DATA else b""
        assert kind != DATA or len(data) == length, "a frame that is not whole"
        at += len(data)
        found.append((kind, flags, stream, length, data))
    return found


def said(session: YamuxSession, now: float = 0.0) -> list[tuple[int, int, int, int, bytes]]:
    """Returns all frames that a session sends now, but for its pings."""
    return [found for found in frames(session.poll_output(ROOM, now)) if found[:2] != (PING, SYN)]


@dataclass
class Pair:
    """The initiator, the responder, and the time of both."""

    now: float = 0.0
    client: YamuxSession = field(default_factory=lambda: YamuxSession(True, now=0.0))
    server: YamuxSession = field(default_factory=lambda: YamuxSession(False, now=0.0))
    client_events: list[StreamEvent] = field(default_factory=list[StreamEvent])
    server_events: list[StreamEvent] = field(default_factory=list[StreamEvent])

    def exchange(self, rounds: int = 8) -> None:
        """Moves all bytes both ways, a millisecond a way, until there are none."""
        for _ in range(rounds):
            self.now += 0.001
            there = self.client.poll_output(ROOM, self.now)
            back = self.server.poll_output(ROOM, self.now)
            self.now += 0.001
            self.server.handle_data(there, self.now)
            self.client.handle_data(back, self.now)
            self.client_events += self.client.poll_events()
            self.server_events += self.server.poll_events()
            if not there and not back:
                return

    def open(self) -> int:
        """Opens a stream of the client's that both know."""
        stream = self.client.streams.open()
        assert stream is not None
        self.exchange()
        return stream
