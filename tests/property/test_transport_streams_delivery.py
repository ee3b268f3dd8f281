"""Any writes, any packets, any loss, duplication and order: the same bytes and one end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.errors import StreamReset, TransportError
from p2pnode.transports.delivery.send_stream import SendQueues, SendStream
from p2pnode.transports.stream_events import (
    StreamFinished,
    StreamOpened,
    StreamResetByPeer,
    StreamStoppedByPeer,
)
from tests.support.held import nothing_held
from tests.support.stream_link import Limits, Packet, deliver, packet, pair

ROOMS = st.sampled_from([40, 64, 200, 1200, 5000])
LIMITS = st.builds(
    Limits,
    st.integers(50, 4000),
    st.integers(50, 3000),
    st.integers(1, 4),
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.booleans(), st.just(0)),
        st.tuples(st.just("write"), st.booleans(), st.integers(1, 900)),
        st.tuples(st.just("send"), st.booleans(), ROOMS),
        st.tuples(st.just("write"), st.booleans(), st.integers(1, 900)),
        st.tuples(st.just("finish"), st.booleans(), st.integers(0, 7)),
        st.tuples(st.just("read"), st.booleans(), st.integers(1, 2000)),
        st.tuples(st.just("send"), st.booleans(), ROOMS),
        st.tuples(st.just("bulk"), st.booleans(), ROOMS.filter(lambda room: room >= 64)),
        st.tuples(st.just("deliver"), st.booleans(), st.integers(0, 7)),
        st.tuples(st.just("duplicate"), st.booleans(), st.integers(0, 7)),
        st.tuples(st.just("lose"), st.booleans(), st.integers(0, 7)),
        st.tuples(st.just("late"), st.booleans(), st.integers(0, 7)),
    ),
    min_size=40,
    max_size=120,
)

ENDINGS = st.tuples(st.sampled_from(["reset", "stop"]), st.booleans(), st.integers(0, 7))


class End:
    """One side, what its application did, and what is on the way to it."""

    def __init__(self, streams):
        self.streams = streams
        self.mine = []
        self.known = []
        self.written = {}
        self.finished = set()
        self.given_up = set()
        self.got = {}
        self.reset_by_peer = set()
        self.stopped_by_peer = set()
        self.inbox = []
        self.in_flight = []
        self.declared_lost = []
        self.delivered = []


class World:
    """Two ends.  Acknowledging is magic: it happens with the delivery, or is withheld as a loss."""

    def __init__(self, limits, remote):
        self.ends = [End(streams) for streams in pair(limits, remote)]

    def act(self, kind, first, number):
        end = self.ends[0 if first else 1]
        getattr(self, kind)(end, self.ends[1 if first else 0], number)
        for each in self.ends:
            self.take_events(each)
            check_held(each.streams)

    def open(self, end, _other, _number):
        stream_id = end.streams.open()
        if stream_id is not None:
            end.mine.append(stream_id)
            end.known.append(stream_id)

    def write(self, end, _other, size):
        for stream_id in end.known[-2:]:
            if stream_id in end.finished | end.given_up | end.stopped_by_peer:
                continue
            written = end.written.setdefault(stream_id, bytearray())
            data = pattern(stream_id, len(written), size)
            taken = end.streams.write(stream_id, data)
            assert taken == size
            written += data

    def finish(self, end, _other, which):
        stream_id = chosen(end.known, which)
        done = end.finished | end.given_up | end.stopped_by_peer
        if stream_id is not None and stream_id not in done:
            end.streams.finish(stream_id)
            end.finished.add(stream_id)

    def read(self, end, _other, size):
        for stream_id in end.known:
            if (stream_id, "stop") in end.given_up:
                continue
            try:
                data = end.streams.read(stream_id, size)
            except StreamReset:
                assert stream_id in end.reset_by_peer
                continue
            assert len(data) <= size
            end.got.setdefault(stream_id, bytearray()).extend(data)

    def reset(self, end, _other, which):
        stream_id = chosen(end.known, which)
        if stream_id is not None:
            end.streams.reset(stream_id, 7)
            end.given_up.add(stream_id)

    def stop(self, end, _other, which):
        stream_id = chosen(end.known, which)
        if stream_id is not None:
            end.streams.stop(stream_id, 8)
            end.given_up.add((stream_id, "stop"))

    def send(self, end, other, room):
        sent = packet(end.streams, room)
        if sent is not None and sent.payload:
            self.put(end, other, sent)

    def bulk(self, end, other, room):
        chunk = end.streams.bulk_chunk(room)
        if chunk is not None:
            head, data, record = chunk
            assert len(head) + len(data) == room
            self.put(end, other, Packet(head + data, (record,)))

    def put(self, end, other, sent):
        end.in_flight.append(sent)
        other.inbox.append(sent)

    def deliver(self, end, other, which):
        """One packet arrives at `end`, and is acknowledged."""
        sent = chosen(end.inbox, which)
        if sent is not None:
            end.inbox.remove(sent)
            deliver(sent.payload, end.streams)
            if sent in other.in_flight:
                other.in_flight.remove(sent)
                sent.acked()

    def duplicate(self, end, _other, which):
        sent = chosen(end.inbox, which)
        if sent is not None:
            deliver(sent.payload, end.streams)

    def lose(self, end, other, which):
        """A packet of `end` is declared lost; it may be on its way all the same."""
        sent = chosen(end.in_flight, which)
        if sent is not None:
            end.in_flight.remove(sent)
            sent.lost()
            if which % 2:
                other.inbox.remove(sent)
            else:
                end.declared_lost.append(sent)

    def late(self, end, other, which):
        """A packet that was declared lost arrives and is acknowledged after all."""
        sent = chosen(end.declared_lost, which)
        if sent is not None:
            end.declared_lost.remove(sent)
            if sent in other.inbox:
                other.inbox.remove(sent)
                deliver(sent.payload, other.streams)
            sent.acked()

    def take_events(self, end):
        for event in end.streams.poll_events():
            match event:
                case StreamOpened(stream_id):
                    end.known.append(stream_id)
                case StreamResetByPeer(stream_id, _):
                    end.reset_by_peer.add(stream_id)
                case StreamStoppedByPeer(stream_id, _):
                    end.stopped_by_peer.add(stream_id)
                case StreamFinished(stream_id):
                    end.delivered.append(stream_id)
                case _:
                    pass

    def settle(self):
        """Everything that was written arrives in the end."""
        for end in self.ends:
            for stream_id in list(end.known):
                self.finish(end, None, end.known.index(stream_id))
        for _ in range(3000):
            moved = False
            for end, other in (self.ends, self.ends[::-1]):
                for _ in range(len(end.known) + 1):
                    self.send(end, other, 1200)
                while end.inbox:
                    self.deliver(end, other, 0)
                    moved = True
                self.take_events(end)
                for stream_id in end.known:
                    if stream_id not in end.finished:
                        self.finish(end, other, end.known.index(stream_id))
                got = sum(map(len, end.got.values()))
                self.read(end, other, 10_000)
                moved = moved or got != sum(map(len, end.got.values()))
                moved = moved or end.streams.has_pending
                check_held(end.streams)
            if not moved and not any(end.inbox for end in self.ends):
                return
        raise AssertionError("the streams do not come to rest")


def pattern(stream_id, offset, size):
    return bytes((stream_id * 31 + n * 7 + (n >> 8)) % 256 for n in range(offset, offset + size))


def check_held(streams):
    assert streams.held.total == streams.count_held()


def chosen(items, which):
    return items[which % len(items)] if items else None


@pytest.mark.spec("STREAM-6")
@given(LIMITS, LIMITS, ACTIONS)
def test_every_stream_arrives_whole_and_once(limits, remote, actions):
    world = World(limits, remote)
    for action in actions:
        world.act(*action)
    world.settle()
    for end, other in (world.ends, world.ends[::-1]):
        assert end.finished == set(end.known)
        for stream_id in other.known:
            got = other.got.get(stream_id, b"")
            assert got == end.written.get(stream_id, b"")
            assert other.streams.at_eof(stream_id)
        assert sorted(end.delivered) == sorted(end.known)
        assert len(end.streams) == 0
        assert end.streams.held.total == 0
        assert not end.streams.has_pending


@pytest.mark.spec("STREAM-14")
@given(
    LIMITS, LIMITS, st.lists(st.one_of(ACTIONS, ENDINGS.map(lambda e: [e])), min_size=2, max_size=5)
)
def test_streams_that_are_given_up_end_as_well_and_return_their_credit(limits, remote, actions):
    world = World(limits, remote)
    for some in actions:
        for action in some:
            world.act(*action)
    world.settle()
    for end, other in (world.ends, world.ends[::-1]):
        for stream_id in other.known:
            got = other.got.get(stream_id, b"")
            assert end.written.get(stream_id, b"")[: len(got)] == got
            if stream_id not in other.reset_by_peer and (stream_id, "stop") not in other.given_up:
                assert got == end.written.get(stream_id, b"")
        assert len(end.streams) == 0
        assert end.streams.held.total == 0
        assert other.streams._window.consumed == end.streams._credit.used


@given(st.binary(max_size=300).map(bytearray), st.integers(0, 2**62 - 1))
def test_no_frames_raise_anything_but_transport_errors(data, far):
    streams = pair(Limits(500, 300, 3))[1]
    data += bytes(8)
    for n in range(0, len(data) - 8, 8):
        kind, stream_id, offset, size, fin = data[n : n + 5]
        stream_id = stream_id % 8 if kind < 250 else far
        offset = offset if kind < 240 else far
        try:
            streams.handle_stream(stream_id, offset, bytes(size), fin % 4 == 0)
            if kind % 3 == 0:
                streams.read(stream_id, 100)
            check_held(streams)
        except (TransportError, StreamReset):
            return


@given(st.lists(st.binary(min_size=1, max_size=20_000), max_size=8), st.integers(1, 30_000))
@settings(max_examples=30)
def test_a_stream_cut_anywhere_is_the_same_bytes(writes, room):
    sender = SendStream(0, 1 << 40, SendQueues(nothing_held()))
    for data in writes:
        sender.write(data)
    sender.finish()
    taken = []
    while (piece := sender.take(room, 1 << 40)) is not None:
        assert piece[0] == sum(len(data) for _, data, _ in taken)
        taken.append(piece)
    assert b"".join(data for _, data, _ in taken) == b"".join(writes)
    assert [fin for _, _, fin in taken] == [False] * (len(taken) - 1) + [True]
