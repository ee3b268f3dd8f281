"""A transport over TCP, with links of a fuzzer's: strangers, a peer that is proved, and a dial."""

from p2pnode.errors import LocalProtocolError, StreamReset, StreamStopped
from p2pnode.links import (
    LINK_CREDIT,
    LinkClosed,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkEvent,
    LinkFailed,
    LinkId,
    LinkObstacle,
    LinkWritable,
)
from p2pnode.machine import SocketAddr
from p2pnode.transports.events import Connected
from p2pnode.transports.stream_upgrade.yamux.streams import MAX_STREAMS
from tests.fuzz.choices import Choices
from tests.support.tcp_pair import ROUTE, Side, TcpPair
from tests.support.yamux import frame

LOCAL = SocketAddr("192.0.2.2", 4001)


def fuzz_tcp(data: bytes) -> None:
    """Nothing raises, only the peer that is proved is one, and no rule of links is broken."""
    pair = TcpPair()
    pair.run()
    bob, choices, now = pair.bob, Choices(data), pair.now
    peer = pair.alice.connection(pair.handle)
    next_link, own = 3, 0
    while not choices.is_empty:
        now += choices.byte() / 16
        link = LinkId(1 + 2 * (choices.byte() % 4)) if choices.byte() % 4 else pair.theirs
        events: list[LinkEvent] = []
        match choices.byte() % 8:
            case 0 if next_link < 9:
                bob.accept(LinkId(next_link), f"198.51.100.{choices.byte() % 3}", now)
                next_link += 2
            case 1 if own < 4:
                bob.transport.dial(ROUTE, None, now)
                bob.drain(now)
                if choices.byte() % 2:
                    obstacle = [*LinkObstacle][choices.byte() % len(LinkObstacle)]
                    bob.tell(now, LinkFailed(LinkId(own), obstacle))
                else:
                    connected = LinkConnected(LinkId(own), LOCAL)
                    bob.tell(now, connected, LinkWritable(LinkId(own), LINK_CREDIT))
                own += 2
            case 2:
                events = [LinkEof(link)]
            case 3:
                events = [LinkClosed(link, choices.byte() % 2 == 0)]
            case 4:
                bob.fire(now)
            case 5 | 6:
                size = choices.below(1 << 16)
                kind, flags, stream = choices.byte() % 5, choices.byte(), choices.byte() % 8
                body = bytes(size) if kind == 0 and size < 1000 else b""
                frames = frame(kind, flags, stream, size, body) * (1 + choices.byte() % 64)
                events = [LinkData(pair.theirs, peer._channel.encrypt(frames))]
                link = pair.theirs
            case _:
                events = [LinkData(link, choices.take(1 + choices.byte()) or b"\0")]
        if events and not _is_over(bob, link, events[0]):
            bob.tell(now, *events)
        _use(bob, choices, now)
        assert len(bob.of(Connected)) == 1
    bob.transport.close_all("the end", now)
    bob.drain(now)
    assert bob.commons.places.taken == bob.commons.account.half_open.used == 0


def _is_over(side: Side, link: LinkId, event: LinkEvent) -> bool:
    """Whether no driver would tell of it."""
    if link in side.paused and not isinstance(event, LinkClosed):
        return True
    return link in side.closed or link not in side.transport._by_link


def _use(side: Side, choices: Choices, now: float) -> None:
    for handle, connection in side.transport.commons.connections.items():
        streams, stream = connection.streams, choices.byte() % 8
        assert len(streams) <= 2 * MAX_STREAMS
        try:
            match choices.byte() % 6:
                case 0:
                    streams.open()
                case 1:
                    streams.write(stream, bytes(choices.below(20_000)))
                case 2:
                    streams.finish(stream)
                case 3:
                    streams.read(stream, choices.below(20_000))
                case 4:
                    streams.reset(stream, choices.byte())
                case _:
                    streams.stop(stream, choices.byte())
        except (LocalProtocolError, StreamReset, StreamStopped):
            pass  # what the state forbids, and what the peer did
        side.transport.wake(handle)
    side.drain(now)
