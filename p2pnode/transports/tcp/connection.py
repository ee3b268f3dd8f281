"""A connection over one link: Noise's frames around a yamux session (specs/tcp.md).

    LinkData --> channel --> inbox --as work allows--> session
    session --as credit allows--> channel --> WriteLink

Rules: a few bytes of credit are always left, so that GO_AWAY finds room; what the session has not
room to send stays in it, where it is bounded and counted.
"""

from typing import TYPE_CHECKING, Final

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    ConnectionLost,
    DecodeError,
    ResetByPeer,
    TransportError,
)
from p2pnode.links import LINK_CREDIT, LinkCommand, LinkId, WriteLink
from p2pnode.machine import Buffer, ConnectionHandle
from p2pnode.noise.primitives import TAG_LEN
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.route import Route
from p2pnode.transports.stream_events import StreamEvent
from p2pnode.transports.stream_upgrade.noise_channel import LENGTH_SIZE, MAX_PLAINTEXT_SIZE
from p2pnode.transports.stream_upgrade.upgrade import Upgraded
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.stream_upgrade.yamux.frame import HEADER_SIZE, GoAwayCode
from p2pnode.transports.work import CONTROL_FRAME_WORK, FRAME_WORK, Work
from p2pnode.wire.transport_name import TransportName

if TYPE_CHECKING:
    from p2pnode.transports.stream_upgrade.yamux.streams import YamuxStreams

FRAME_OVERHEAD: Final = LENGTH_SIZE + TAG_LEN
"""bytes that a Noise frame adds"""
WRITE_OVERHEAD: Final = -(-LINK_CREDIT // MAX_PLAINTEXT_SIZE) * FRAME_OVERHEAD
"""bytes that Noise adds to as much as there can be credit for"""
FAREWELL_SIZE: Final = HEADER_SIZE + FRAME_OVERHEAD
"""bytes of credit that are left for GO_AWAY"""
MIN_ROOM: Final = 4096
"""bytes of frames below which more credit is waited for; chosen: an eighth of what comes at once"""
SLICE: Final = 16 * 1024
"""bytes that the session gets before its work is looked at; chosen: headers alone are half a turn's
work"""

_OURS: Final = frozenset(
    {ErrorCode.NO_ERROR, ErrorCode.SUPPLANTED, ErrorCode.SHUTDOWN, ErrorCode.EXCESSIVE_LOAD}
)
"""Why we close without the peer having done anything wrong."""


class TcpConnection:
    """One peer, whose identity is proved; see `MuxedConnection`."""

    __slots__ = (
        "_channel",
        "_commands",
        "_credit",
        "_has_eof",
        "_inbox",
        "_partial",
        "_position",
        "_session",
        "close_reason",
        "handle",
        "is_initiator",
        "link",
        "peer_id",
        "route",
        "streams",
        "work",
    )

    def __init__(
        self,
        handle: ConnectionHandle,
        link: LinkId,
        route: Route,
        upgraded: Upgraded,
        *,
        is_initiator: bool,
        credit: int,
        max_streams: int,
        commands: list[LinkCommand],
        now: Instant,
    ) -> None:
        """`credit`: bytes that may be written to the link; `max_streams` the peer may open.

        `commands` takes what is to be done to the link.
        """
        self.handle = handle
        self.link = link
        self.route = route
        self.peer_id = upgraded.peer_id
        self.is_initiator = is_initiator
        self.close_reason: ConnectionLost | None = None
        self.work = Work(now)
        self._session = YamuxSession(is_initiator, now=now, max_streams=max_streams, work=self.work)
        self.streams: YamuxStreams = self._session.streams
        self._channel = upgraded.channel
        self._commands = commands
        self._credit = credit
        self._inbox = upgraded.rest
        """Decrypted, and for the session; from `_position` on."""
        self._position = 0
        self._has_eof = False
        self._partial = 0
        """Bytes of `held.beside` that are the channel's and the inbox's."""

    # facts

    @property
    def transport(self) -> TransportName:
        return TransportName.TCP

    @property
    def paths(self) -> None:
        """It cannot move."""

    @property
    def is_limited(self) -> bool:
        return False

    @property
    def rtt(self) -> float | None:
        return self._session.rtt

    @property
    def last_received(self) -> Instant:
        return self._session.last_received

    @property
    def is_closed(self) -> bool:
        return self.close_reason is not None

    @property
    def is_waiting(self) -> bool:
        """Whether what came, or what comes next, has to wait until it may cost some work."""
        if self.close_reason is not None:
            return False
        return bool(self._inbox) or self.work.spent >= self.work.limit

    @property
    def carried(self) -> int:
        """bytes of data so far, both ways"""
        return self.streams.bytes_received + self.streams.bytes_sent

    @property
    def held_bytes(self) -> int:
        """What it accounts for; see `count_held`."""
        return self.streams.held.total

    def count_held(self) -> int:
        """Counts anew what it holds.  Looks at all streams."""
        return self.streams.count_held() + self.streams.held.above + self._count_partial()

    # commands

    def close(self, code: int, reason: str, now: Instant, *, is_application: bool = True) -> None:
        """Ends it, and tells the peer as much as GO_AWAY can: that nothing, or something, is wrong.

        What is written already leaves first, as far as there is credit.
        """
        del reason
        if is_application or code in _OURS:
            go_away = GoAwayCode.NORMAL
        elif code == ErrorCode.INTERNAL_ERROR:
            go_away = GoAwayCode.INTERNAL_ERROR
        else:
            go_away = GoAwayCode.PROTOCOL_ERROR
        self.write(now)
        self.end(ClosedLocally(), go_away)

    def end(self, reason: ConnectionLost, go_away: GoAwayCode) -> None:
        """Ends it for a reason of our own; nothing where it has ended."""
        if self.close_reason is None:
            self.close_reason = reason
            self._session.go_away(go_away)

    def fail(self, error: TransportError) -> None:
        """Ends it for what the peer did."""
        self.end(ClosedForViolation(error), GoAwayCode.PROTOCOL_ERROR)

    def lose(self) -> None:
        """The link is gone."""
        if self.close_reason is None:
            is_told = self.streams.is_closing
            self.close_reason = ClosedByPeer(0, "GO_AWAY") if is_told else ResetByPeer()
            self._session.on_link_lost()

    def ping(self) -> None:
        self._session.ping()

    def send_datagram(self, data: Buffer) -> bool:
        """There are none over TCP."""
        del data
        return False

    # the link

    def grant(self, size: int) -> None:
        """So many bytes more may be written."""
        self._credit += size

    def handle_data(self, data: bytes) -> None:
        """Takes what the link brings; `read` hands it to the session.  Untrusted; never raises."""
        if self.close_reason is not None:
            return
        channel, work = self._channel, self.work
        frames, short_frames = channel.frames, channel.short_frames
        try:
            plaintext = channel.decrypt_untrusted(data)
        except DecodeError as error:
            self.fail(TransportError(ErrorCode.PROTOCOL_VIOLATION, str(error)))
            return
        work.spent += FRAME_WORK * (channel.frames - frames)
        if channel.short_frames != short_frames:
            work.add_overhead(CONTROL_FRAME_WORK * (channel.short_frames - short_frames))
        if self._inbox:
            self._inbox = self._inbox[self._position :] + plaintext
            self._position = 0
        else:
            self._inbox = plaintext

    def handle_eof(self) -> None:
        """The link brings nothing more: it ends once all that came is read."""
        self._has_eof = True

    def read(self, now: Instant) -> None:
        """Hands over what came, as far as work allows.  Untrusted; never raises."""
        session, work = self._session, self.work
        inbox, position, size = self._inbox, self._position, len(self._inbox)
        while position < size and work.spent < work.limit:
            if size <= SLICE:
                session.handle_data(inbox, now)
                position = size
            else:
                session.handle_data(inbox[position : position + SLICE], now)
                position += SLICE
        if session.is_over:
            self._take_failure()
        elif position < size:
            self._position = position
        else:
            self._inbox, self._position = b"", 0
            if self._has_eof:
                self.lose()
        self.wait()

    def wait(self) -> None:
        """What has come is read as far as it may be now: the rest counts as held."""
        change = self._count_partial() - self._partial
        if change:
            self._partial += change
            self.streams.held.beside += change

    def write(self, now: Instant) -> None:
        """Writes what there is to send, as far as credit goes."""
        session = self._session
        is_over = session.is_over
        while session.has_output:
            room = self._credit - WRITE_OVERHEAD
            if not is_over:
                room -= FAREWELL_SIZE
                if room < MIN_ROOM:
                    return
            frames = session.poll_output(room, now)
            if not frames:
                return
            data = self._channel.encrypt(frames)
            self._credit -= len(data)
            self._commands.append(WriteLink(self.link, data))

    # time and events

    def handle_timeout(self, now: Instant) -> None:
        self._session.handle_timeout(now)
        if self._session.is_over:
            self._take_failure()

    def poll_timeout(self) -> Deadline | None:
        return self._session.poll_timeout()

    def poll_events(self) -> list[StreamEvent]:
        return self._session.poll_events()

    # details

    def _take_failure(self) -> None:
        if self.close_reason is None:
            self.close_reason = self._session.failure or ResetByPeer()
        self._inbox, self._position = b"", 0

    def _count_partial(self) -> int:
        return self._channel.buffered + len(self._inbox)
