"""The halves of a stream against models that keep every byte by itself."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pnode.errors import StreamReset, TransportError
from p2pnode.transports.delivery.recv_stream import RecvState, RecvStream
from p2pnode.transports.delivery.send_stream import SendQueues, SendState, SendStream
from p2pnode.transports.error_code import ErrorCode
from tests.support.held import nothing_held

WINDOW = 400
BUFFER = 60


class Sending(RuleBasedStateMachine):
    """Each byte is new, in flight, lost or acknowledged; the end is the byte behind the last."""

    def __init__(self):
        super().__init__()
        self.sender = SendStream(0, 50, SendQueues(nothing_held(), BUFFER))
        self.limit = 50
        self.data = bytearray()
        self.size = None
        self.acked = set()
        self.lost = set()
        self.sent = 0
        self.records = []
        self.has_sent = False
        self.end_sent = False
        self.is_reset = False
        self.reset_acked = False

    @precondition(lambda self: self.size is None and not self.is_reset)
    @rule(size=st.integers(1, 40))
    def write(self, size):
        data = bytes((len(self.data) + n) * 7 % 256 for n in range(size))
        taken = self.sender.write(data)
        assert taken == min(size, self.room)
        self.data += data[:taken]

    @precondition(lambda self: self.size is None and not self.is_reset)
    @rule()
    def finish(self):
        self.sender.finish()
        self.size = len(self.data)
        if self.sent == self.size:
            self.lost.add(self.size)
            self.sent += 1

    @rule(more=st.integers(-20, 200))
    def raise_limit(self, more):
        self.sender.on_max_stream_data(max(0, self.limit + more))
        self.limit = max(self.limit, self.limit + more)

    @rule(room=st.integers(0, 20), credit=st.integers(0, 40))
    def take(self, room, credit):
        taken = self.sender.take(room, credit)
        if self.is_reset:
            assert taken is None
            return
        if self.lost:
            self.expect_lost(taken, room)
        else:
            self.expect_fresh(taken, min(room, credit))

    @rule(room=st.integers(1, 20))
    def take_everything(self, room):
        while self.sender.has_pending:
            self.take(room, BUFFER)

    def expect_lost(self, taken, room):
        start = min(self.lost)
        stop = start
        while stop in self.lost and stop - start < room and stop != self.size:
            stop += 1
        fin = stop in self.lost and stop == self.size
        if start == stop and not fin:
            assert taken is None
            return
        assert taken == (start, self.data[start:stop], fin)
        self.lost -= set(range(start, stop + fin))
        self.note_sent(start, stop, fin)

    def expect_fresh(self, taken, room):
        start = self.sent
        stop = min(start + room, len(self.data), self.limit)
        if stop <= start:
            assert taken is None
            return
        fin = stop == self.size
        assert taken == (start, self.data[start:stop], fin)
        self.sent = stop + fin
        self.note_sent(start, stop, fin)

    def note_sent(self, start, stop, fin):
        self.has_sent = True
        self.end_sent = self.end_sent or fin
        self.records.append((start, stop, int(fin)))

    @precondition(lambda self: self.records)
    @rule(which=st.integers(0, 50), again=st.booleans())
    def acknowledge(self, which, again):
        start, stop, fin = record = self.records[which % len(self.records)]
        if not again:
            self.records.remove(record)
        self.sender.on_acked(*record)
        self.acked |= set(range(start, stop + fin))
        self.lost -= self.acked

    @precondition(lambda self: self.records)
    @rule(which=st.integers(0, 50))
    def lose(self, which):
        start, stop, fin = record = self.records[which % len(self.records)]
        self.sender.on_lost(*record)
        if not self.is_reset:
            self.lost |= set(range(start, stop + fin)) - self.acked

    @precondition(lambda self: len(self.records) > 1)
    @rule(order=st.randoms(use_true_random=False), kept=st.integers(0, 2))
    def judge_many(self, order, kept):
        """All but the last few, in any order, some of them lost before."""
        records = self.records[: len(self.records) - kept]
        order.shuffle(records)
        for record in records:
            if order.random() < 0.3:
                self.lose(self.records.index(record))
            if order.random() < 0.8:
                self.acknowledge(self.records.index(record), again=False)

    @precondition(lambda self: self.has_sent and len(self.data) > BUFFER)
    @rule(by_peer=st.booleans())
    def reset(self, by_peer):
        is_over = self.is_reset or self.is_delivered
        size = min(self.sent, len(self.data))
        act = self.sender.on_stop_sending if by_peer else self.sender.reset
        assert act(5) is not is_over
        if not is_over:
            self.is_reset = True
            self.lost.clear()
        if self.is_reset:
            assert self.sender.sent_size <= size

    @precondition(lambda self: self.is_reset)
    @rule()
    def acknowledge_reset(self):
        self.sender.on_reset_acked()
        self.reset_acked = True

    @property
    def room(self):
        base = next(n for n in range(len(self.data) + 1) if n not in self.acked)
        return BUFFER - (len(self.data) - base)

    @property
    def is_delivered(self):
        return self.size is not None and len(self.acked) == self.size + 1

    @invariant()
    def the_state_is_the_models(self):
        state = self.sender.state
        if self.is_reset:
            assert state is (SendState.RESET_RECVD if self.reset_acked else SendState.RESET_SENT)
            assert not self.sender.has_pending
            return
        if self.is_delivered:
            assert state is SendState.DATA_RECVD
        elif self.end_sent:
            assert state is SendState.DATA_SENT
        else:
            assert state is (SendState.SEND if self.has_sent else SendState.READY)
        assert self.sender.is_writable == (self.size is None and self.room > 0)
        fresh = self.sent < min(len(self.data), self.limit)
        assert self.sender.has_pending == (bool(self.lost) or fresh)
        assert self.sender.is_blocked == (self.limit <= self.sent and self.limit < len(self.data))
        assert self.sender.sent_size == min(self.sent, len(self.data))


class Receiving(RuleBasedStateMachine):
    """Each offset has the byte that came first."""

    def __init__(self):
        super().__init__()
        self.receiver = RecvStream(0, WINDOW, nothing_held())
        self.limit = WINDOW
        self.bytes = {}
        self.highest = 0
        self.size = None
        self.position = 0
        self.reset_known = None
        self.is_stopped = False
        self.is_over = False

    def in_order(self):
        end = self.position
        while end in self.bytes:
            end += 1
        return end

    def violation(self, end, fin):
        """Returns the error that a frame up to `end` is to cause, or None."""
        if self.size is not None:
            changed = end > self.size or (fin and end != self.size)
            return ErrorCode.FINAL_SIZE_ERROR if changed else None
        if fin and end < self.highest:
            return ErrorCode.FINAL_SIZE_ERROR
        return ErrorCode.FLOW_CONTROL_ERROR if end > self.limit else None

    def counted(self, act, end, fin):
        """Does it and returns whether it was accepted."""
        expected = self.violation(end, fin)
        if expected is not None:
            with pytest.raises(TransportError) as refused:
                act()
            assert refused.value.code == expected
            return False
        assert act() == max(0, end - self.highest)
        self.highest = max(self.highest, end)
        if fin:
            self.size = end
        return True

    @rule(
        offset=st.integers(-30, 60),
        content=st.binary(max_size=8),
        repeat=st.sampled_from([1, 1, 1, 60]),
        fin=st.sampled_from([False, False, False, True]),
    )
    def data(self, offset, content, repeat, fin):
        offset = max(0, self.in_order() + offset)
        content *= repeat
        known = self.is_frozen
        if not self.counted(
            lambda: self.receiver.on_data(offset, content, fin), offset + len(content), fin
        ):
            return
        if not known:
            for n, byte in enumerate(content, offset):
                if n >= self.position:
                    self.bytes.setdefault(n, byte)

    @rule(size=st.integers(0, 500), code=st.integers(0, 3))
    def reset(self, size, code):
        size = self.size if self.size is not None and size % 4 else size
        known = self.is_frozen or self.is_complete
        accepted = self.counted(lambda: self.receiver.on_reset(code, size), size, True)
        if accepted and not known:
            self.reset_known = code

    @rule(size=st.integers(0, 100))
    def read(self, size):
        if self.is_stopped:
            return
        if self.reset_known is not None:
            with pytest.raises(StreamReset) as told:
                self.receiver.read(size)
            assert told.value.code == self.reset_known
            self.is_over = True
            return
        stop = min(self.in_order(), self.position + size)
        expected = bytes(self.bytes[n] for n in range(self.position, stop))
        assert self.receiver.read(size) == expected
        self.position = stop
        self.is_over = self.is_complete and self.position == self.size

    @rule(rtt=st.floats(0, 1), now=st.floats(0, 100))
    def raise_limit(self, rtt, now):
        limit = self.receiver.window.raise_limit(now, rtt)
        assert limit >= self.limit
        assert limit >= self.receiver.window.consumed + WINDOW
        self.limit = limit

    @rule()
    @precondition(lambda self: self.highest > 250)
    def stop(self):
        wanted = not self.is_over and not self.is_stopped and self.size is None
        assert self.receiver.stop(1) == wanted
        self.is_stopped = self.is_stopped or not self.is_over

    @property
    def is_complete(self):
        return self.size is not None and self.in_order() == self.size

    @property
    def is_frozen(self):
        return self.reset_known is not None or self.is_stopped

    @invariant()
    def the_state_is_the_models(self):
        state = self.receiver.state
        if self.is_stopped:
            assert self.receiver.is_terminal == (self.size is not None)
            assert self.receiver.window.consumed == self.highest
            assert self.receiver.available == 0
            return
        if self.reset_known is not None:
            assert state is (RecvState.RESET_READ if self.is_over else RecvState.RESET_RECVD)
            assert self.receiver.window.consumed == self.highest
            return
        if self.is_over:
            assert state is RecvState.DATA_READ
        elif self.is_complete:
            assert state is RecvState.DATA_RECVD
        else:
            assert state is (RecvState.RECV if self.size is None else RecvState.SIZE_KNOWN)
        assert self.receiver.available == self.in_order() - self.position
        assert self.receiver.at_eof == (self.is_complete and self.position == self.size)
        assert self.receiver.window.consumed == self.position


Sending.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
Receiving.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestSending = Sending.TestCase
TestReceiving = Receiving.TestCase
