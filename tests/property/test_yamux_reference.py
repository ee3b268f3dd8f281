"""Two yamux sessions against a model that knows nothing of frames: two byte strings a stream.

Any operations of both ends in any order, any room, bytes cut anywhere and late: each end reads what
the other wrote, in order, up to one end or a reset; nobody holds more than the windows; and when
all is delivered, nothing is left behind.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pnode.errors import LocalProtocolError, StreamReset, StreamStopped
from p2pnode.transports.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamResetByPeer,
    StreamStoppedByPeer,
    StreamWritable,
)
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.stream_upgrade.yamux.send_half import SEND_BUFFER_SIZE
from tests.support.yamux import DATA, frames

SIDES = st.integers(0, 1)
SIZES = st.sampled_from([0, 1, 7, 255, 256, 5_000, 100_000, 400_000])
PATTERN = bytes(n * 7 % 251 for n in range(251 * 4000))


@dataclass
class Direction:
    """What one end wrote on a stream, and what the other did with it."""

    written: int = 0
    read: int = 0
    is_finished: bool = False
    is_stopped: bool = False
    is_finish_told: bool = False
    is_at_eof: bool = False


@dataclass
class Stream:
    """By the side that writes; `reset_by` is who gave it up first."""

    ways: list[Direction] = field(default_factory=lambda: [Direction(), Direction()])
    known: list[bool] = field(default_factory=lambda: [False, False])
    resets: dict[int, int] = field(default_factory=dict[int, int])


class Sessions(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.now = 0.0
        self.sessions = [YamuxSession(True, now=0.0), YamuxSession(False, now=0.0)]
        self.wires = [b"", b""]
        self.sent = [b"", b""]
        self.streams = {}
        self.readable = [set(), set()]
        for side in (0, 1):
            self.open(side)
            self.carry(side)

    def pick(self, side, choice):
        known = [n for n, stream in self.streams.items() if stream.known[side]]
        return known[choice % len(known)] if known else None

    @rule(side=SIDES)
    def open(self, side):
        stream = self.sessions[side].streams.open()
        assert stream is not None
        assert stream not in self.streams
        assert stream % 2 == (1 - side)
        self.streams[stream] = Stream()
        self.streams[stream].known[side] = True

    @rule(side=SIDES, choice=st.integers(0, 20), size=SIZES)
    def write(self, side, choice, size):
        number = self.pick(side, choice)
        if number is None:
            return
        stream = self.streams[number]
        way = stream.ways[side]
        data = PATTERN[way.written % 251 :][:size]
        try:
            taken = self.sessions[side].streams.write(number, data)
        except StreamStopped:
            assert stream.resets
            return
        except LocalProtocolError:
            assert way.is_finished or stream.resets
            return
        assert not way.is_finished
        assert side not in stream.resets
        assert taken == size or taken < SEND_BUFFER_SIZE
        way.written += taken

    @rule(side=SIDES, choice=st.integers(0, 20))
    def finish(self, side, choice):
        number = self.pick(side, choice)
        if number is None:
            return
        stream = self.streams[number]
        try:
            self.sessions[side].streams.finish(number)
        except StreamStopped:
            assert stream.resets
        except LocalProtocolError:
            assert stream.ways[side].is_finished or stream.resets
        else:
            stream.ways[side].is_finished = True

    @rule(side=SIDES, choice=st.integers(0, 20), size=SIZES)
    def read(self, side, choice, size):
        number = self.pick(side, choice)
        if number is not None:
            self.read_stream(side, number, size)

    def read_stream(self, side, number, size):
        stream, streams = self.streams[number], self.sessions[side].streams
        way = stream.ways[1 - side]
        was_known = streams.is_known(number)
        try:
            data = streams.read(number, size)
        except StreamReset:
            assert stream.resets
            return b""
        except LocalProtocolError:
            assert way.is_stopped
            return b""
        assert data == PATTERN[way.read % 251 :][: len(data)]
        way.read += len(data)
        assert way.read <= way.written
        if was_known and streams.at_eof(number):
            if not stream.resets:
                assert way.is_stopped or (way.is_finished and way.read == way.written)
            way.is_at_eof = True
        elif len(data) < size:
            self.readable[side].discard(number)
        return data

    @rule(side=SIDES, choice=st.integers(0, 20), code=st.integers(0, 9))
    def reset(self, side, choice, code):
        number = self.pick(side, choice)
        if number is None or choice % 3:
            return
        streams, stream = self.sessions[side].streams, self.streams[number]
        before = streams.is_known(number) and streams.sending(number).is_ended
        if streams.is_known(number) and not before:
            stream.resets.setdefault(side, code)
        streams.reset(number, code)

    @rule(side=SIDES, choice=st.integers(0, 20))
    def stop(self, side, choice):
        number = self.pick(side, choice)
        if number is not None and choice % 2:
            self.streams[number].ways[1 - side].is_stopped = True
            self.sessions[side].streams.stop(number, 0)

    @rule(side=SIDES)
    def ping(self, side):
        self.sessions[side].ping()

    @rule(side=SIDES, room=st.sampled_from([11, 12, 13, 40, 1500, 65_519, 300_000]))
    def send(self, side, room):
        output = self.sessions[side].poll_output(room, self.now)
        assert len(output) <= room
        for kind, _flags, _stream, length, _data in frames(output):
            assert kind != DATA or length + 12 <= 65_536
        self.wires[side] += output

    @rule(side=SIDES, size=st.sampled_from([1, 11, 13, 1000, 65_536, 1_000_000]))
    def deliver(self, side, size):
        self.now += 0.001
        data, self.wires[side] = self.wires[side][:size], self.wires[side][size:]
        self.sessions[1 - side].handle_data(data, self.now)
        self.take_events(1 - side)

    @rule(side=SIDES)
    def carry(self, side):
        """All that may go, in one piece: most examples need some of it to come to anything."""
        self.send(side, 300_000)
        self.deliver(side, len(self.wires[side]))

    @rule(side=SIDES, choice=st.integers(0, 20), size=SIZES)
    def write_and_carry(self, side, choice, size):
        self.write(side, choice, size)
        self.carry(side)

    def take_events(self, side):
        for event in self.sessions[side].poll_events():
            match event:
                case StreamOpened(number):
                    assert not self.streams[number].known[side]
                    self.streams[number].known[side] = True
                case StreamReadable(number):
                    self.readable[side].add(number)
                case StreamResetByPeer(number, code) | StreamStoppedByPeer(number, code):
                    assert code in self.streams[number].resets.values()
                    self.readable[side].add(number)
                case StreamFinished(number):
                    way = self.streams[number].ways[side]
                    assert way.is_finished
                    assert not way.is_finish_told
                    way.is_finish_told = True
                case StreamWritable(number):
                    assert self.streams[number].known[side]

    @invariant()
    def accounts_are_true(self):
        for session in getattr(self, "sessions", []):
            assert not session.is_over, session.failure
            held = session.streams.held.total
            assert session.streams.count_held() == held

    @invariant()
    def nobody_holds_more_than_the_windows(self):
        for session in getattr(self, "sessions", []):
            for recv in session.streams._recv.values():
                assert recv.available <= recv.window.size
                assert recv.window.received <= recv.window.limit

    @invariant()
    def what_can_be_read_was_told(self):
        for side, session in enumerate(getattr(self, "sessions", [])):
            for number, recv in session.streams._recv.items():
                if recv.available and not session.streams._events:
                    assert number in self.readable[side], "bytes that nobody was told of"

    def teardown(self):
        """Ends everything, in order, and finds nothing left behind."""
        if not hasattr(self, "sessions"):
            return
        for number, stream in self.streams.items():
            for side in (0, 1):
                if stream.known[side] and not stream.ways[side].is_finished:
                    self.try_to_finish(side, number)
        for _ in range(200):
            for side in (0, 1):
                self.send(side, 300_000)
                self.deliver(side, 1_000_000)
            for number, stream in self.streams.items():
                for side in (0, 1):
                    if stream.known[side] and self.sessions[side].streams.is_known(number):
                        self.read_stream(side, number, 1_000_000)
                    elif stream.known[side] and not stream.ways[side].is_finished:
                        self.try_to_finish(side, number)
                    if stream.known[side] and not stream.ways[side].is_finished:
                        self.try_to_finish(side, number)
            if not any(self.wires) and not any(s.has_output for s in self.sessions):
                break
        for side, session in enumerate(self.sessions):
            assert len(session.streams) == 0
            assert session.streams.held.total == 0
            assert not session.has_output
            for stream in self.streams.values():
                way = stream.ways[1 - side]
                if not stream.resets and not way.is_stopped:
                    assert way.read == way.written, "bytes were lost"
                    assert way.is_finish_told

    def try_to_finish(self, side, number):
        try:
            self.sessions[side].streams.finish(number)
        except (StreamStopped, LocalProtocolError):
            return
        self.streams[number].ways[side].is_finished = True


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
