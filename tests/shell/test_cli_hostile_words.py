"""What peers say, through each command that prints it: as many lines as for an innocent word.

Every text that a peer chooses is sent through the command that shows it; the log and the errors of
the program as well.  Whatever it is, it adds no line, and each line is printable.
"""

import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2pnode.cli.main import main
from p2pnode.cli.node_reports import Reporter
from p2pnode.cli.output import set_up_logging
from p2pnode.errors import ClosedByPeer, NoAnswer, P2PNodeError
from p2pnode.io.node.events import (
    BootstrapFailed,
    NodeEvent,
    PathChanged,
    PeerDisconnected,
    PeerIdentified,
    PunchEnded,
)
from p2pnode.protocols.file_transfer import PROTOCOL_ID as FILE_PROTOCOL
from p2pnode.protocols.file_transfer.messages import (
    Offer,
    Reply,
    TransferStatus,
    encode_offer,
    encode_reply,
)
from p2pnode.protocols.identify.info import IdentifyInfo
from p2pnode.protocols.nat_behaviour.why import Explanation, PunchAttempt
from p2pnode.wire.framing import encode_frame
from tests.shell.fake_node import ADDRESS, OURS, PEER, VIA, FakeEnvironment, FakeNode
from tests.shell.fake_streams import FakeStream, fake_stream_pair
from tests.support.addresses import NOISE_UDP

INNOCENT = "word"
Words = st.text(st.characters(), min_size=1, max_size=80)  # lone surrogates included
Setup = Callable[[FakeNode, trio.Nursery], None]


def identified(make: Callable[[str], IdentifyInfo]) -> Callable[[str, Path, bool], str]:
    def run(word: str, folder: Path, is_json: bool) -> str:
        def on_open(node: FakeNode, _: trio.Nursery) -> None:
            node.identify_info = make(word)

        return printed(["identify", ADDRESS], folder, on_open, is_json=is_json)

    return run


def happened(make: Callable[[str], NodeEvent]) -> Callable[[str, Path, bool], str]:
    """Of a running node."""

    def run(word: str, folder: Path, is_json: bool) -> str:
        def on_open(node: FakeNode, _: trio.Nursery) -> None:
            node.node_reports = Reporter().reports_of(make(word))

        return printed(["run"], folder, on_open, is_json=is_json)

    return run


def explained(make: Callable[[str], Explanation]) -> Callable[[str, Path, bool], str]:
    def run(word: str, folder: Path, is_json: bool) -> str:
        def on_open(node: FakeNode, _: trio.Nursery) -> None:
            node.explanation = make(word)

        return printed(["why", ADDRESS], folder, on_open, is_json=is_json)

    return run


def pinged(make: Callable[[str], P2PNodeError]) -> Callable[[str, Path, bool], str]:
    def run(word: str, folder: Path, is_json: bool) -> str:
        def on_open(node: FakeNode, _: trio.Nursery) -> None:
            node.rtts = [make(word)]

        return printed(["ping", ADDRESS, "-c", "1"], folder, on_open, is_json=is_json)

    return run


def refused_file(word: str, folder: Path, is_json: bool) -> str:
    async def refuse(stream: FakeStream) -> None:
        reply = encode_reply(Reply(TransferStatus.REFUSED, word))
        await stream.send_all(encode_frame(reply))

    return sent(refuse, folder, is_json=is_json)


def lost_stream(word: str, folder: Path, is_json: bool) -> str:
    async def close(stream: FakeStream) -> None:
        await stream.receive_some()
        assert stream.other is not None
        stream.other.fail(ClosedByPeer(7, word))

    return sent(close, folder, is_json=is_json)


def sent(peer: Callable[[FakeStream], Awaitable[None]], folder: Path, *, is_json: bool) -> str:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.peer_handlers[FILE_PROTOCOL] = peer

    file = folder / "file"
    file.write_bytes(b"abc")
    return printed(["send", str(file), ADDRESS], folder, on_open, is_json=is_json)


def offered_file(size: int) -> Callable[[str, Path, bool], str]:
    """A peer offers a file and sends nothing of it, or nothing has to be sent."""

    def run(word: str, folder: Path, is_json: bool) -> str:
        async def offer(node: FakeNode, nursery: trio.Nursery) -> None:
            await node.has_handler.wait()
            ours, theirs = fake_stream_pair(OURS, PEER)
            nursery.start_soon(node.handlers[FILE_PROTOCOL], ours)
            await theirs.send_all(encode_frame(encode_offer(Offer(word, size))))
            await theirs.send_eof()
            with contextlib.suppress(trio.BrokenResourceError):
                while await theirs.receive_some():
                    pass
            nursery.cancel_scope.cancel()

        def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
            nursery.start_soon(offer, node, nursery)

        return printed(["receive", str(folder)], folder, on_open, is_json=is_json)

    return run


def failed_with(word: str, folder: Path, is_json: bool) -> str:
    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        raise P2PNodeError(f"it went wrong: {word}")

    return printed(["run"], folder, on_open, is_json=is_json)


FIELDS: dict[str, Callable[[str, Path, bool], str]] = {
    "agent version": identified(lambda word: IdentifyInfo(PEER, agent_version=word)),
    "protocol version": identified(lambda word: IdentifyInfo(PEER, protocol_version=word)),
    "protocols": identified(lambda word: IdentifyInfo(PEER, protocols=("/a/1", word))),
    "agent of a peer that came": happened(
        lambda word: PeerIdentified(IdentifyInfo(PEER, agent_version=word))
    ),
    "why a peer was lost": happened(lambda word: PeerDisconnected(PEER, ClosedByPeer(7, word))),
    "why a path changed": happened(
        lambda word: PathChanged(PEER, "relayed", VIA, word, NOISE_UDP, False)
    ),
    "why a punch failed": happened(lambda word: PunchEnded(PEER, 1, "simple", False, word)),
    "why a bootstrap peer failed": happened(lambda word: BootstrapFailed(ADDRESS, word, 2.0)),
    "why a ping is lost": pinged(NoAnswer),
    "why a connection is lost": pinged(lambda word: ClosedByPeer(7, word)),
    "verdict": explained(lambda word: replace(EXPLANATION, verdict=word)),
    "why an attempt failed": explained(
        lambda word: replace(EXPLANATION, attempts=(PunchAttempt(0.0, 1, word, False, word),))
    ),
    "why a file is refused": refused_file,
    "why a stream is lost": lost_stream,
    "name of a file": offered_file(5),
    "name of a file that does not fit": offered_file(1 << 60),
    "error": failed_with,
}
EXPLANATION = Explanation(PEER, "relayed", "it is relayed", None, None, ())


def printed(arguments: list[str], folder: Path, on_open: Setup, *, is_json: bool) -> str:
    """Returns what the command says on stdout and stderr."""
    out, err = io.StringIO(newline=""), io.StringIO(newline="")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main([*arguments, *(["--json"] if is_json else [])], FakeEnvironment(folder, on_open))
    return out.getvalue() + err.getvalue()


def lines_of(text: str) -> list[str]:
    """Returns the lines; only LF ends one."""
    assert text.endswith("\n")
    return text[:-1].split("\n")


@pytest.mark.parametrize("field", FIELDS)
@given(word=Words)
@example(word="a\nb\r\nc\x0bd\x0ce\x85f\u2028g\u2029h")
@example(word="\x1b[2J\x1b]0;owned\x07\u202e\u2066\u200b\u3164\ud800")
@settings(max_examples=15)
def test_what_a_peer_says_adds_no_line_and_is_printable(field: str, word: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = lines_of(FIELDS[field](word, folder, False))
        innocent = lines_of(FIELDS[field](INNOCENT, folder, False))
    assert len(lines) == len(innocent)
    assert [line for line in lines if not line.isprintable()] == []
    assert any(INNOCENT in line for line in innocent), "the field is not shown"


@pytest.mark.parametrize("field", FIELDS)
@given(word=Words)
@settings(max_examples=5)
def test_with_json_what_a_peer_says_stays_inside_of_its_object(field: str, word: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = lines_of(FIELDS[field](word, folder, True))
        innocent = lines_of(FIELDS[field](INNOCENT, folder, True))
    assert [sorted(json.loads(line)) for line in lines] == [
        sorted(json.loads(line)) for line in innocent
    ]
    assert all(line.isascii() for line in lines)


@given(word=Words)
def test_the_log_has_a_line_a_record_whatever_a_peer_says(word: str) -> None:
    err = io.StringIO(newline="")
    set_up_logging(logging.DEBUG)
    log = logging.getLogger("p2pnode.test")
    with contextlib.redirect_stderr(err):
        log.debug("the peer said %s", word)
        log.info("%s", ClosedByPeer(7, word))
        log.warning(word.replace("%", ""))
    set_up_logging(logging.WARNING)
    lines = lines_of(err.getvalue())
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
