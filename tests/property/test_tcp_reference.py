"""Two whole transports over TCP against a model that knows two byte strings a stream.

From the first byte of the upgrade on: any cut, any order of what both do, little or much credit.
Each end reads what the other wrote, and when all is delivered nothing is held.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pnode.errors import LocalProtocolError
from p2pnode.transports.delivery.held_bytes import CONNECTION_SIZE
from p2pnode.transports.events import Connected, ConnectionClosed
from p2pnode.transports.stream_events import StreamOpened
from p2pnode.transports.tcp.connection import TcpConnection
from tests.support.tcp_pair import TcpPair

SIDES = st.integers(0, 1)
SIZES = st.sampled_from([1, 7, 255, 5_000, 100_000, 700_000])
CUTS = st.sampled_from([1, 2, 17, 1000, 1 << 16])
PATTERN = bytes(n * 7 % 251 for n in range(251 * 4000))


class Transports(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.pair = TcpPair()
        self.sides = (self.pair.alice, self.pair.bob)
        self.written: dict[tuple[int, int], int] = {}
        """By (who writes, stream)."""
        self.read_so_far: dict[tuple[int, int], int] = {}
        """By (who reads, stream)."""
        self.finished: set[tuple[int, int]] = set()
        self.known: tuple[list[int], list[int]] = ([], [])

    def connection(self, number: int) -> TcpConnection | None:
        side = self.sides[number]
        handles = [h for h, event in side.events if isinstance(event, Connected)]
        return side.connection(handles[0]) if handles else None

    def drain(self, number: int) -> None:
        side, known = self.sides[number], self.known[number]
        side.drain(self.pair.now)
        known += [
            event.stream_id
            for _, event in side.events
            if isinstance(event, StreamOpened) and event.stream_id not in known
        ]

    @rule(way=SIDES, size=CUTS)
    def carry(self, way: int, size: int) -> None:
        self.pair.move_one(way, size)
        self.drain(0)
        self.drain(1)

    @rule()
    def go_on(self) -> None:
        for side in self.sides:
            deadline = side.transport.poll_timeout()
            if deadline is not None and deadline.at <= self.pair.now + 1e-5:
                self.pair.now = max(self.pair.now, deadline.at)
                side.fire(self.pair.now)

    @rule(number=SIDES)
    def open(self, number: int) -> None:
        connection = self.connection(number)
        if connection is not None:
            stream = connection.streams.open()
            assert stream is not None
            self.known[number].append(stream)
            self.drain(number)

    @rule(number=SIDES, choice=st.integers(0, 20), size=SIZES)
    def write(self, number: int, choice: int, size: int) -> None:
        key = self.pick(number, choice)
        connection = self.connection(number)
        if key is None or connection is None:
            return
        before = self.written.get(key, 0)
        try:
            taken = connection.streams.write(key[1], PATTERN[before % 251 :][:size])
        except LocalProtocolError:
            assert key in self.finished
            return
        self.written[key] = before + taken
        self.drain(number)

    @rule(number=SIDES, choice=st.integers(0, 20))
    def finish(self, number: int, choice: int) -> None:
        key = self.pick(number, choice)
        if key is not None and key not in self.finished:
            self.end(number, key)

    @rule(number=SIDES, choice=st.integers(0, 20), size=SIZES)
    def read(self, number: int, choice: int, size: int) -> None:
        key = self.pick(number, choice)
        if key is not None:
            self.read_stream(number, key, size)

    @invariant()
    def nobody_ends(self) -> None:
        for side in self.sides:
            assert not side.of(ConnectionClosed)

    def pick(self, number: int, choice: int) -> tuple[int, int] | None:
        known = self.known[number]
        return (number, known[choice % len(known)]) if known else None

    def end(self, number: int, key: tuple[int, int]) -> None:
        connection = self.connection(number)
        assert connection is not None
        connection.streams.finish(key[1])
        self.finished.add(key)
        self.drain(number)

    def read_stream(self, number: int, key: tuple[int, int], size: int) -> None:
        connection = self.connection(number)
        assert connection is not None
        data = connection.streams.read(key[1], size)
        at = self.read_so_far.get(key, 0)
        assert data == PATTERN[at % 251 :][: len(data)]
        self.read_so_far[key] = at + len(data)
        assert at + len(data) <= self.written.get((1 - number, key[1]), 0)
        self.drain(number)

    def teardown(self) -> None:
        pair = self.pair
        for _ in range(200):
            pair.run()
            for number in (0, 1):
                self.drain(number)
                for stream in self.known[number]:
                    if (number, stream) not in self.finished:
                        self.end(number, (number, stream))
                    self.read_stream(number, (number, stream), 1 << 20)
        for number, side in enumerate(self.sides):
            connection = self.connection(number)
            assert connection is not None
            assert len(connection.streams) == 0
            for stream in self.known[number]:
                read = self.read_so_far.get((number, stream), 0)
                assert read == self.written.get((1 - number, stream), 0)
            assert connection.held_bytes == 0
            side.drain(pair.now)
            assert side.commons.account.memory.used <= CONNECTION_SIZE + 16 * 1024
            assert side.commons.account.half_open.used == 0


Transports.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestTransports = Transports.TestCase
