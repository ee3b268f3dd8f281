"""`send` and `receive` through `main`, against a node without a network."""

import hashlib
import os
from pathlib import Path

import pytest
import trio

from p2pnode.cli.environment import NodeRequest
from p2pnode.cli.main import main
from p2pnode.errors import DataFolderInUse
from p2pnode.io.applications.file_receiver import FileReceiver
from p2pnode.io.applications.file_sender import send_file
from p2pnode.io.applications.outgoing_file import OutgoingFile
from p2pnode.io.applications.pipe import PROTOCOL_ID as PIPE_PROTOCOL
from p2pnode.protocols.file_transfer import PROTOCOL_ID as FILE_PROTOCOL
from p2pnode.protocols.file_transfer.messages import Offer, encode_offer
from p2pnode.wire.framing import encode_frame
from tests.shell.cli_support import interrupt, interrupt_after, run_json
from tests.shell.fake_node import (
    ADDRESS,
    OUR_ADDRESS,
    OURS,
    PEER,
    FakeEnvironment,
    FakeNode,
)
from tests.shell.fake_streams import FakeStream, fake_stream_pair
from tests.shell.test_file_transfer import Observer

VIA = "/ip4/192.0.2.7/udp/4001/noise"
UNREACHABLE = "/ip4/192.0.2.99/udp/1/noise"
INTERRUPTED = "told to end before it was done"


def test_send_sends_to_a_peer_that_receives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "x.bin").write_bytes(b"abc")

    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        receiver = FileReceiver(tmp_path / "incoming", Observer())
        node.peer_handlers[FILE_PROTOCOL] = receiver.handle

    environment = FakeEnvironment(tmp_path, on_open)
    code, [line] = run_json(capsys, environment, "send", str(tmp_path / "x.bin"), ADDRESS)
    assert code == 0
    assert line.pop("seconds") >= 0
    assert line == {
        "event": "sent",
        "file": "x.bin",
        "bytes": 3,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "path": "direct",
        "peer": str(PEER),
        "via": VIA,
        "transport": "noise-udp",
        "limited": False,
    }
    assert (tmp_path / "incoming" / "x.bin").read_bytes() == b"abc"


def test_send_tells_what_to_do_where_nobody_receives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    code, [line] = run_json(capsys, FakeEnvironment(tmp_path), "send", str(tmp_path / "x"), ADDRESS)
    assert code == 1
    assert "p2pnode receive" in line["error"]


@pytest.mark.parametrize(
    ("protocol", "arguments"), [(FILE_PROTOCOL, ["send", "x"]), (PIPE_PROTOCOL, ["pipe"])]
)
def test_a_busy_peer_is_an_end_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    protocol: str,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(b"abc")

    def on_open(node: FakeNode, _: trio.Nursery) -> None:
        node.busy = [protocol]

    assert main([*arguments, ADDRESS], FakeEnvironment(tmp_path, on_open)) == 75
    assert f"the peer is busy: it takes no more of {protocol} now" in capfd.readouterr().err


def test_send_looks_at_the_file_before_it_dials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = FakeEnvironment(tmp_path)
    code, [line] = run_json(capsys, environment, "send", str(tmp_path / "missing"), ADDRESS)
    assert code == 1
    assert "missing" in line["error"]
    assert environment.requests == []


def test_an_interrupted_send_fails_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(b"abc")

    async def wait(stream: FakeStream) -> None:
        await trio.sleep_forever()

    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        node.peer_handlers[FILE_PROTOCOL] = wait
        nursery.start_soon(interrupt_after, node.has_opened)

    arguments = ["send", str(tmp_path / "x"), ADDRESS]
    assert main(arguments, FakeEnvironment(tmp_path, on_open)) == 1
    assert capsys.readouterr() == ("", f"p2pnode: {INTERRUPTED}\n")
    told = run_json(capsys, FakeEnvironment(tmp_path, on_open), *arguments)
    assert told == (1, [{"error": INTERRUPTED}])


class SendingPeer:
    """Plays a peer that sends files as soon as ours waits for them."""

    def __init__(self, *files: Path) -> None:
        self.files = files

    def on_open(self, node: FakeNode, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._send, node, nursery)

    async def _send(self, node: FakeNode, nursery: trio.Nursery) -> None:
        await node.has_handler.wait()
        for path in self.files:
            ours, theirs = fake_stream_pair(OURS, PEER)
            nursery.start_soon(node.handlers[FILE_PROTOCOL], ours)
            with OutgoingFile(path) as file:
                await send_file(theirs, file, lambda _: None)


def test_receive_once_takes_a_file_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "x.bin").write_bytes(b"abc")
    environment = FakeEnvironment(tmp_path, SendingPeer(tmp_path / "x.bin").on_open)
    code, [listening, received] = run_json(
        capsys, environment, "receive", str(tmp_path / "incoming"), "--once"
    )
    assert code == 0
    assert listening == {"event": "listening", "addresses": [OUR_ADDRESS]}
    assert received.pop("seconds") >= 0
    assert received == {
        "event": "received",
        "file": str(tmp_path / "incoming" / "x.bin"),
        "offered_as": "x.bin",
        "bytes": 3,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "path": "direct",
        "peer": str(PEER),
        "via": VIA,
        "transport": "noise-udp",
        "limited": False,
    }
    assert environment.requests == [NodeRequest(data=tmp_path, listen=None)]


def test_receive_tells_of_a_name_that_had_to_be_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "-rf \u202efdp.exe").write_bytes(b"abc")
    peer = SendingPeer(tmp_path / "-rf \u202efdp.exe")
    environment = FakeEnvironment(tmp_path, peer.on_open)
    assert main(["receive", str(tmp_path / "incoming"), "--once"], environment) == 0
    received = capsys.readouterr().out.splitlines()[-2]
    path = tmp_path / "incoming" / "_-rf fdp.exe"
    assert path.read_bytes() == b"abc"
    assert received.startswith(
        f"received '{path}' (offered as \"-rf \\u202efdp.exe\") from {PEER}: 3 bytes"
    )


def test_an_interrupted_receive_that_only_waits_is_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        nursery.start_soon(interrupt_after, node.has_handler)

    assert main(["receive", str(tmp_path)], FakeEnvironment(tmp_path, on_open)) == 0
    assert capsys.readouterr().err == ""


def test_a_receive_that_is_interrupted_in_a_file_fails_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()

    async def stall(node: FakeNode, nursery: trio.Nursery) -> None:
        await node.has_handler.wait()
        ours, theirs = fake_stream_pair(OURS, PEER)
        nursery.start_soon(node.handlers[FILE_PROTOCOL], ours)
        await theirs.send_all(encode_frame(encode_offer(Offer("x", 300))) + b"abc")
        await trio.testing.wait_all_tasks_blocked()
        interrupt()

    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        nursery.start_soon(stall, node, nursery)

    assert main(["receive", str(incoming)], FakeEnvironment(tmp_path, on_open)) == 1
    assert capsys.readouterr().err == f"p2pnode: {INTERRUPTED}\n"
    assert os.listdir(incoming) == []


def test_receive_under_a_folder_that_is_in_use_takes_another_identity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "x.bin").write_bytes(b"abc")
    environment = FakeEnvironment(tmp_path, SendingPeer(tmp_path / "x.bin").on_open)
    environment.failure = DataFolderInUse("it is in use")
    assert main(["receive", str(tmp_path / "incoming"), "--once"], environment) == 0
    assert environment.requests[1] == NodeRequest(data=None, listen=None)
    assert "another node uses" in capsys.readouterr().err


@pytest.mark.spec("FILE-12")
def test_receive_refuses_what_does_not_fit_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (tmp_path / "small").write_bytes(b"abc")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 42)

    async def send(node: FakeNode, nursery: trio.Nursery) -> None:
        await node.has_handler.wait()
        handler = node.handlers[FILE_PROTOCOL]
        ours, theirs = fake_stream_pair(OURS, PEER)
        nursery.start_soon(handler, ours)
        with OutgoingFile(tmp_path / "sparse") as outgoing, pytest.raises(Exception, match="space"):
            await send_file(theirs, outgoing, lambda _: None)
        ours, theirs = fake_stream_pair(OURS, PEER)
        nursery.start_soon(handler, ours)
        with OutgoingFile(tmp_path / "small") as outgoing:
            await send_file(theirs, outgoing, lambda _: None)

    def on_open(node: FakeNode, nursery: trio.Nursery) -> None:
        nursery.start_soon(send, node, nursery)

    code, [_, failed, received] = run_json(
        capsys, FakeEnvironment(tmp_path, on_open), "receive", str(incoming), "--once"
    )
    assert code == 0
    assert (failed["event"], failed["file"]) == ("failed", "sparse")
    assert f"not enough space on the disk for its {1 << 42} bytes" in failed["reason"]
    assert received["event"] == "received"
    assert os.listdir(incoming) == ["small"]


def test_receive_needs_a_folder_that_it_can_write_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = FakeEnvironment(tmp_path)
    code, [line] = run_json(capsys, environment, "receive", str(tmp_path / "missing"))
    assert code == 1
    assert "is not a folder" in line["error"]
    assert environment.requests == []
