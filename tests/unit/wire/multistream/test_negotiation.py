"""multistream-select, both sides, byte by byte."""

from collections.abc import Sequence

import pytest

from p2pnode.errors import LocalProtocolError
from p2pnode.wire.multistream import (
    Agreed,
    Failed,
    Initiator,
    Outcome,
    ProposalRefused,
    Responder,
)
from p2pnode.wire.multistream.messages import MAX_MESSAGE_SIZE, encode_message
from p2pnode.wire.multistream.negotiation import MAX_PROPOSALS

HEADER = bytes.fromhex("132f6d756c746973747265616d2f312e302e300a")
PING = bytes.fromhex("112f697066732f70696e672f312e302e300a")
NA = bytes.fromhex("036e610a")


def responder(*supported: str) -> Responder:
    return Responder(frozenset(supported).__contains__)


def negotiate(proposed: Sequence[str], supported: Sequence[str]) -> tuple[Outcome, Outcome | None]:
    """Returns what both sides make of it."""
    ours, theirs = Initiator(proposed), responder(*supported)
    while ours.outcome is None:
        theirs.handle_data(ours.poll_data())
        ours.handle_data(theirs.poll_data())
    return ours.outcome, theirs.outcome


@pytest.mark.spec("MSS-1")
@pytest.mark.spec("MSS-2")
def test_the_initiator_sends_header_and_proposal_at_once() -> None:
    assert Initiator(["/ipfs/ping/1.0.0"]).poll_data() == HEADER + PING


@pytest.mark.spec("MSS-4")
def test_the_responder_echoes_what_it_speaks() -> None:
    side = responder("/ipfs/ping/1.0.0")

    side.handle_data(HEADER + PING)

    assert side.poll_data() == HEADER + PING
    assert side.outcome == Agreed("/ipfs/ping/1.0.0", b"")


@pytest.mark.spec("MSS-4")
@pytest.mark.parametrize(
    ("proposed", "supported", "ours", "theirs"),
    [
        (["/a"], ["/a"], Agreed("/a", b""), Agreed("/a", b"")),
        (["/b", "/a"], ["/a"], Agreed("/a", b""), Agreed("/a", b"")),
        (["/b", "/c"], ["/a"], ProposalRefused(("/b", "/c")), None),
    ],
)
def test_both_sides_come_to_the_same_end(
    proposed: list[str], supported: list[str], ours: Outcome, theirs: Outcome | None
) -> None:
    assert negotiate(proposed, supported) == (ours, theirs)


@pytest.mark.spec("MSS-3")
def test_data_may_follow_one_proposal_but_not_several() -> None:
    assert Initiator(["/a"]).may_send_early
    assert not Initiator(["/a", "/b"]).may_send_early


@pytest.mark.spec("MSS-5")
def test_the_bytes_behind_the_agreement_come_back_untouched() -> None:
    early = b"\x00\xffearly data\n"
    side, other = responder("/ipfs/ping/1.0.0"), Initiator(["/ipfs/ping/1.0.0"])

    side.handle_data(HEADER + PING + early)
    other.handle_data(HEADER + PING + early)

    assert side.outcome == other.outcome == Agreed("/ipfs/ping/1.0.0", early)


@pytest.mark.spec("MSS-6")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encode_message("/multistream/2.0.0"), "1.0"),
        (PING, "1.0"),
        (HEADER + b"\x02na", "newline"),
        (HEADER + b"\x00", "newline"),
        (HEADER + b"\x02\xff\n", "UTF-8"),
        (HEADER + b"\x81\x08", "limit"),
        (HEADER + b"\x80\x00", "varint"),
        (b"\x16\x03\x01\x02\x00\x01", "newline"),
    ],
)
def test_what_is_not_multistream_fails_on_either_side(data: bytes, why: str) -> None:
    for side in (Initiator(["/a"]), responder("/a")):
        side.handle_data(data + b"\x00" * 30)

        assert isinstance(side.outcome, Failed)
        assert why in side.outcome.reason


@pytest.mark.spec("MSS-6")
def test_an_answer_that_was_not_proposed_fails() -> None:
    side = Initiator(["/a", "/b"])

    side.handle_data(HEADER + encode_message("/b"))

    assert isinstance(side.outcome, Failed)


@pytest.mark.spec("MSS-6")
def test_the_end_of_the_stream_fails_only_before_the_outcome() -> None:
    early, late = Initiator(["/ipfs/ping/1.0.0"]), Initiator(["/ipfs/ping/1.0.0"])
    late.handle_data(HEADER + PING)

    early.handle_eof()
    late.handle_eof()

    assert isinstance(early.outcome, Failed)
    assert isinstance(late.outcome, Agreed)


def test_endless_proposals_end() -> None:
    side = responder("/a")

    side.handle_data(HEADER + encode_message("/b") * (MAX_PROPOSALS + 5))

    assert side.poll_data() == HEADER + NA * MAX_PROPOSALS
    assert isinstance(side.outcome, Failed)


def test_ls_is_not_spoken() -> None:
    side = responder("/a")

    side.handle_data(HEADER + encode_message("ls"))

    assert side.poll_data() == HEADER + NA
    assert side.outcome is None


@pytest.mark.parametrize(
    "protocols",
    [[], ["/a"] * (MAX_PROPOSALS + 1), ["x" * MAX_MESSAGE_SIZE], ["/a\n/b"]],
    ids=["none", "too many", "too long", "newline"],
)
def test_our_own_nonsense_is_refused(protocols: list[str]) -> None:
    with pytest.raises(LocalProtocolError):
        Initiator(protocols)


def test_bytes_after_the_outcome_are_the_owners_mistake() -> None:
    side = responder("/ipfs/ping/1.0.0")
    side.handle_data(HEADER + PING)

    with pytest.raises(LocalProtocolError):
        side.handle_data(b"x")
