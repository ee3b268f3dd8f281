"""What every dialogue on a stream has from its base, on the smallest one that there can be."""

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.reset_code import StreamResetCode

MAX_SIZE = 10
VIOLATION = ResetStream(StreamResetCode.PROTOCOL_VIOLATION)


class Words(FramedDialogue):
    """Does what it is told in one word, and notes the others."""

    def __init__(self, deadline: Deadline | None = None) -> None:
        super().__init__(MAX_SIZE, deadline)
        self.words: list[bytes] = []
        self.failures: list[str] = []
        self.ticks: list[Instant] = []

    def go_on(self, now: Instant) -> None:
        self._go_on(now)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self.words.append(frame)
        match frame:
            case b"bad":
                raise DecodeError("a bad word")
            case b"bye":
                self._send(b"farewell")
                self._finish()
            case b"hold":
                self._hold()
            case b"ignore":
                self._ignore_input()
            case b"over":
                self._hand_over()
            case b"tick":
                self._timer = Deadline(now + 1.0, "the next tick")

    def _on_failure(self, reason: str) -> None:
        self.failures.append(reason)

    def _on_timer(self, now: Instant) -> None:
        self.ticks.append(now)


def saying(*words: bytes, deadline: Deadline | None = None) -> Words:
    dialogue = Words(deadline)
    dialogue.handle_data(b"".join(map(encode_frame, words)), 0.0)
    return dialogue


def test_the_end_in_good_order_is_said_behind_the_last_word() -> None:
    dialogue = saying(b"a", b"bye", b"b")

    assert dialogue.words == [b"a", b"bye"]
    assert dialogue.poll_output() == [SendData(encode_frame(b"farewell")), SendEof()]
    assert dialogue.poll_output() == []
    assert dialogue.is_done
    assert dialogue.failures == []


def test_nothing_comes_after_the_end() -> None:
    dialogue = saying(b"bye", deadline=Deadline(1.0, "a word"))
    dialogue.poll_output()
    dialogue.handle_data(encode_frame(b"bad"), 0.0)
    dialogue.handle_eof(0.0)
    dialogue.handle_timeout(9.0)
    dialogue.handle_reset(0, 9.0)

    assert dialogue.words == [b"bye"]
    assert dialogue.poll_output() == []
    assert dialogue.poll_timeout() is None
    assert dialogue.failures == []
    assert dialogue.take_rest() == b""


def test_bad_and_long_words_break_the_stream_and_are_told_once() -> None:
    bad, long = saying(b"bad", b"bad"), saying(bytes(MAX_SIZE + 1))

    for dialogue in (bad, long):
        assert dialogue.is_done
        assert dialogue.poll_output() == [VIOLATION]
    assert bad.failures == ["a bad word"]
    assert long.failures == ["a message of 11 bytes is above the limit of 10"]


def test_an_early_end_and_a_reset_are_failures_and_a_reset_stream_is_sent_nothing() -> None:
    ended, reset = saying(b"a"), saying(b"a")
    ended.handle_eof(0.0)
    reset.handle_reset(7, 0.0)

    assert ended.failures == ["the peer ended the stream too early"]
    assert ended.poll_output() == [ResetStream(StreamResetCode.NONE)]
    assert reset.failures == ["the stream was reset"]
    assert reset.poll_output() == []
    assert ended.is_done
    assert reset.is_done


def test_what_was_said_before_a_reset_goes_nowhere() -> None:
    dialogue = saying(b"bye")
    dialogue.handle_reset(0, 0.0)

    assert dialogue.poll_output() == []
    assert dialogue.failures == []


def test_the_deadline_ends_it_and_names_what_was_waited_for() -> None:
    dialogue = saying(deadline=Deadline(5.0, "a word"))
    assert dialogue.poll_timeout() == Deadline(5.0, "a word")
    dialogue.handle_timeout(4.9)
    assert not dialogue.is_done
    dialogue.handle_timeout(5.0)

    assert dialogue.failures == ["a word timed out"]
    assert dialogue.poll_output() == [ResetStream(StreamResetCode.NONE)]
    assert dialogue.poll_timeout() is None


def test_a_nearer_moment_comes_first_and_once() -> None:
    dialogue = saying(b"tick", deadline=Deadline(5.0, "a word"))
    assert dialogue.poll_timeout() == Deadline(1.0, "the next tick")
    dialogue.handle_timeout(1.0)
    dialogue.handle_timeout(1.5)

    assert dialogue.ticks == [1.0]
    assert dialogue.poll_timeout() == Deadline(5.0, "a word")


def test_without_a_deadline_nothing_is_waited_for() -> None:
    dialogue = saying()
    dialogue.handle_timeout(1e9)

    assert dialogue.poll_timeout() is None
    assert not dialogue.is_done


def test_what_is_held_is_read_later() -> None:
    dialogue = saying(b"hold", b"a")
    dialogue.handle_data(encode_frame(b"b"), 0.0)
    assert dialogue.words == [b"hold"]
    dialogue.go_on(1.0)

    assert dialogue.words == [b"hold", b"a", b"b"]


def test_as_many_bytes_are_held_as_one_message_has_however_they_come() -> None:
    for parts in ([b"x" * MAX_SIZE], [b"x"] * MAX_SIZE):
        dialogue = saying(b"hold")
        for part in parts:
            dialogue.handle_data(part, 0.0)
        assert not dialogue.is_done
        dialogue.handle_data(b"x", 0.0)
        assert dialogue.failures == ["the peer sends before it is answered"]
        assert dialogue.poll_output() == [VIOLATION]

    at_once = Words()
    at_once.handle_data(encode_frame(b"hold") + b"x" * (MAX_SIZE + 1), 0.0)
    assert at_once.failures == ["the peer sends before it is answered"]


def test_who_ignores_its_input_lets_the_peer_end_and_still_hears_of_a_reset() -> None:
    dialogue = saying(b"ignore", b"bad")
    dialogue.handle_data(encode_frame(b"bad"), 0.0)
    dialogue.handle_eof(0.0)
    assert dialogue.words == [b"ignore"]
    assert not dialogue.is_done
    dialogue.handle_reset(0, 0.0)

    assert dialogue.failures == ["the stream was reset"]


def test_what_follows_a_hand_over_is_kept_as_it_comes() -> None:
    dialogue = saying(b"over", b"bad")
    dialogue.handle_data(b"x" * 100, 0.0)

    assert dialogue.is_done
    assert dialogue.is_handed_over
    assert dialogue.words == [b"over"]
    assert dialogue.take_rest() == encode_frame(b"bad") + b"x" * 100
    assert dialogue.poll_output() == []
