"""A yamux session with an application, and a peer whose bytes and whose silence are a fuzzer's."""

from p2pnode.errors import LocalProtocolError, StreamReset, StreamStopped
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.stream_upgrade.yamux.streams import MAX_RESETS, MAX_STREAMS
from tests.fuzz.choices import Choices
from tests.support.yamux import frame, frames

ROOMS = (11, 13, 100, 65_519)


def fuzz_yamux(data: bytes) -> None:
    choices = Choices(data)
    session = YamuxSession(choices.byte() % 2 == 0, now=0.0)
    now = 0.0
    while not choices.is_empty:
        now += choices.byte() / 8
        match choices.byte() % 8:
            case 0:
                session.handle_data(choices.take(choices.byte()), now)
            case 1 | 2 | 3:
                kind, flags, stream = (choices.byte() % 5, choices.byte(), choices.byte() % 16)
                size = choices.below(1 << 16)
                body = bytes(size) if kind == 0 and size < 1000 else b""
                session.handle_data(frame(kind, flags, stream, size, body), now)
            case 4:
                session.handle_timeout(now)
            case 5:
                frames(session.poll_output(ROOMS[choices.byte() % len(ROOMS)], now))
            case _:
                _use(session, choices)
        session.poll_events()
        streams = session.streams
        assert len(streams) <= 2 * MAX_STREAMS
        assert len(streams.resets) <= MAX_RESETS
        assert streams.held.total == streams.count_held()
    session.on_link_lost()
    assert session.is_over
    assert session.poll_output(100, now) == b""


def _use(session: YamuxSession, choices: Choices) -> None:
    streams, stream = session.streams, choices.byte() % 16
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
        pass  # what the state forbids, and what the peer did: to be expected of any order
