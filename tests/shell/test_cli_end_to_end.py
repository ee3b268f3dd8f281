"""The commands as processes of their own, over real sockets on loopback.

Each test waits for printed lines, never for a time; a watchdog ends what hangs.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import IO, Any

import pytest

from tests.shell.test_partial_file import has_unnamed_files

WATCHDOG = 60.0
"""seconds after which a process is taken for hanging"""

NOTHING = Path(os.devnull)
LISTEN = ("--listen", "/ip4/127.0.0.1/udp/0/noise")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals"),
]


class Command:
    """A p2pnode process."""

    def __init__(
        self,
        *arguments: str,
        data: Path,
        stdin: Path = NOTHING,
        stdout: IO[bytes] | int = subprocess.PIPE,
    ) -> None:
        with stdin.open("rb") as source:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "p2pnode", *arguments, "--data", str(data)],
                stdin=source,
                stdout=stdout,
                stderr=subprocess.PIPE,
            )
        self._watchdog = threading.Timer(WATCHDOG, self.process.kill)
        self._watchdog.start()

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait()

    def json(self, *, on_stderr: bool = False) -> dict[str, Any]:
        """Returns the next line, which is an object."""
        stream = self.process.stderr if on_stderr else self.process.stdout
        line = _pipe(stream).readline()
        assert line, f"the command ended: {_pipe(self.process.stderr).read().decode()}"
        value: dict[str, Any] = json.loads(line)
        return value

    def event(self, name: str) -> dict[str, Any]:
        """Returns the next event of that name."""
        while (line := self.json())["event"] != name:
            pass
        return line

    def signal(self, number: signal.Signals) -> int:
        """Returns the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait()

    def rest(self) -> list[dict[str, Any]]:
        """Returns the lines to the end."""
        return [json.loads(line) for line in _pipe(self.process.stdout).read().splitlines()]


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@contextlib.contextmanager
def running(data: Path, *arguments: str) -> Iterator[tuple[Command, str]]:
    """Yields a peer that runs, and its address."""
    with Command("run", *LISTEN, *arguments, "--json", data=data) as command:
        yield command, command.event("started")["addresses"][0]


def run_to_end(*arguments: str, data: Path) -> tuple[int, list[dict[str, Any]]]:
    with Command(*arguments, "--json", data=data) as command:
        lines = command.rest()
        return command.wait(), lines


def test_a_peer_is_pinged_and_identified_from_another_terminal(tmp_path: Path) -> None:
    with running(tmp_path / "a") as (peer, address):
        # The same data folder, as on a newcomer's machine: the peer does not dial itself.
        code, pongs = run_to_end("ping", address, "-c", "2", "-i", "0.01", data=tmp_path / "a")
        assert code == 0
        assert [pong["seq"] for pong in pongs] == [1, 2]
        assert all(address.endswith(pong["peer"]) for pong in pongs)
        assert all(0 < pong["rtt_ms"] < 1000 * WATCHDOG for pong in pongs)
        assert {(pong["path"], pong["via"]) for pong in pongs} == {
            ("direct", address.partition("/p2p/")[0])
        }

        code, [said] = run_to_end("identify", address, data=tmp_path / "b")
        assert code == 0
        assert said["peer_id"] == address.rpartition("/")[2]
        assert said["observed_addr"].startswith("/ip4/127.0.0.1/udp/")
        assert "/ipfs/ping/1.0.0" in said["protocols"]

        connected = peer.event("connected")
        assert connected["direction"] == "inbound"
        assert peer.event("disconnected")["peer"] == connected["peer"]
        assert peer.signal(signal.SIGINT) == 0


def test_identity_and_port_survive_a_kill(tmp_path: Path) -> None:
    with Command("run", "--json", data=tmp_path) as first:
        started = first.event("started")
        first.process.kill()
        first.wait()
    assert run_to_end("id", data=tmp_path) == (0, [{"peer_id": started["peer_id"]}])
    with Command("run", "--json", data=tmp_path) as second:
        again = second.event("started")
        assert sorted(again["addresses"]) == sorted(started["addresses"])
        code, [error] = run_to_end("run", data=tmp_path)
        assert code == 1
        assert "in use" in error["error"]
        assert second.signal(signal.SIGTERM) == 0


@contextlib.contextmanager
def receiving(folder: Path, data: Path, *arguments: str) -> Iterator[tuple[Command, str]]:
    folder.mkdir(exist_ok=True)
    with Command("receive", str(folder), *LISTEN, *arguments, "--json", data=data) as command:
        yield command, command.event("listening")["addresses"][0]


def test_a_file_goes_through_the_running_node_byte_for_byte(tmp_path: Path) -> None:
    content = Random("file").randbytes(5_000_011)
    (tmp_path / "a file.bin").write_bytes(content)
    with (
        receiving(tmp_path / "in", tmp_path / "a", "--once") as (receiver, address),
        running(tmp_path / "b", "--connect", address) as (sender, sender_address),
    ):
        sender.event("connected")
        code, [sent] = run_to_end(
            "send", str(tmp_path / "a file.bin"), address, data=tmp_path / "b"
        )
        assert code == 0
        received = receiver.event("received")
        assert receiver.wait() == 0
        assert sender.signal(signal.SIGINT) == 0
    assert received["peer"] == sender_address.rpartition("/")[2]
    assert (tmp_path / "in" / "a file.bin").read_bytes() == content
    for report in (sent, received):
        assert report["sha256"] == hashlib.sha256(content).hexdigest()
        assert report["bytes"] == len(content)
        assert report["path"] == "direct"
        assert report["seconds"] > 0


def test_an_interrupted_send_leaves_nothing_and_the_receiver_goes_on(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 33)
    (tmp_path / "small").write_bytes(b"abc")
    with receiving(tmp_path / "in", tmp_path / "a") as (receiver, address):
        with Command(
            "send", str(tmp_path / "sparse"), address, "--json", data=tmp_path / "b"
        ) as sender:
            wait_until_written_to(tmp_path / "in", receiver)
            assert sender.signal(signal.SIGINT) == 1
        assert receiver.event("failed")["file"] == "sparse"
        assert os.listdir(tmp_path / "in") == []
        assert run_to_end("send", str(tmp_path / "small"), address, data=tmp_path / "b")[0] == 0
        assert receiver.event("received")["bytes"] == 3
        assert receiver.signal(signal.SIGINT) == 0


def test_an_interrupted_receive_leaves_nothing_and_the_sender_hears_of_it(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 33)
    with (
        receiving(tmp_path / "in", tmp_path / "a") as (receiver, address),
        Command("send", str(tmp_path / "sparse"), address, "--json", data=tmp_path / "b") as sender,
    ):
        wait_until_written_to(tmp_path / "in", receiver)
        assert receiver.signal(signal.SIGINT) == 1
        assert os.listdir(tmp_path / "in") == []
        assert set(sender.json()) == {"error"}
        assert sender.wait() == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_receive_that_is_killed_leaves_nothing_of_the_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 33)
    folder = tmp_path / "in"
    with (
        receiving(folder, tmp_path / "a") as (receiver, address),
        Command("send", str(tmp_path / "sparse"), address, data=tmp_path / "b"),
    ):
        wait_until_written_to(folder, receiver)
        receiver.signal(number)
    if not has_unnamed_files(folder):
        with receiving(folder, tmp_path / "a"):  # the next one removes what is left
            pass
    assert os.listdir(folder) == []


def wait_until_written_to(folder: Path, receiver: Command) -> None:
    """Returns when a file in the folder has grown; the watchdog of the writer limits the wait."""
    while not any(size for size in written_sizes(folder, receiver.process.pid)):
        pass


def written_sizes(folder: Path, pid: int) -> Iterator[int]:
    """Yields the sizes of the folder's files, and on Linux of those that have no name yet."""
    for path in folder.iterdir():
        yield path.stat().st_size
    with contextlib.suppress(FileNotFoundError):  # not on Linux, or one was closed just now
        for path in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(path).startswith(f"{folder}{os.sep}"):
                yield path.stat().st_size


@pytest.mark.spec("PIPE-3")
class UnreadPipe:
    """A pipe for a command's output that nobody reads, once it is `full`."""

    def __init__(self, folder: Path) -> None:
        path = folder / "output"
        os.mkfifo(path)
        self._read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.write_end = path.open("wb")
        self._filler = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        self.lines = os.fdopen(self._read_end, "rb")
        os.set_blocking(self._read_end, True)

    def __enter__(self) -> "UnreadPipe":
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.write_end.close()
        os.close(self._filler)

    def fill(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.write(self._filler, b" " * 4095 + b"\n"):
                pass

    def rest(self) -> list[bytes]:
        """Returns what comes until nobody writes any more, without what it was filled with."""
        os.close(self._filler)
        self._filler = os.open(os.devnull, os.O_WRONLY)
        self.write_end.close()
        return [line for line in self.lines.read().splitlines() if line.strip()]


@pytest.mark.parametrize("command", ["run", "relay --json"])
def test_a_node_whose_output_nobody_reads_goes_on_serving(tmp_path: Path, command: str) -> None:
    with (
        UnreadPipe(tmp_path) as unread,
        Command(*command.split(), *LISTEN, data=tmp_path / "a", stdout=unread.write_end) as node,
    ):
        while b"/udp/" not in (line := unread.lines.readline()):
            pass
        address = json.loads(line)["addresses"][0] if b"{" in line else line.split()[1].decode()
        unread.fill()

        code, _ = run_to_end("ping", address, "-c", "1", data=tmp_path / "b")
        assert code == 0
        node.process.send_signal(signal.SIGTERM)
        lines = unread.rest()
        assert node.wait() == 0
    assert sum(b"inbound" in line for line in lines) == 1  # told once it is read


def test_a_node_whose_output_nobody_reads_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with (
        UnreadPipe(tmp_path) as unread,
        Command("run", *LISTEN, data=tmp_path / "a", stdout=unread.write_end) as node,
    ):
        while b"/udp/" not in (line := unread.lines.readline()):
            pass
        unread.fill()
        code, _ = run_to_end("ping", line.split()[1].decode(), "-c", "1", data=tmp_path / "b")
        assert code == 0
        assert node.signal(signal.SIGTERM) == 0
        assert _pipe(node.process.stderr).read() == b""


def test_a_node_whose_output_has_lost_its_reader_ends_at_the_next_line(tmp_path: Path) -> None:
    with Command("run", *LISTEN, "--json", data=tmp_path / "a") as node:
        address = node.event("started")["addresses"][0]
        _pipe(node.process.stdout).close()
        run_to_end("ping", address, "-c", "1", data=tmp_path / "b")
        assert node.wait() == 1
        assert _pipe(node.process.stderr).read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_pipe_whose_other_side_cannot_write_fails(tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"hello")
    with (
        Path("/dev/full").open("wb") as full,
        Command("pipe", *LISTEN, "--json", data=tmp_path / "a", stdout=full) as waiting,
    ):
        address = waiting.json(on_stderr=True)["addresses"][0]
        with Command("pipe", address, data=tmp_path / "b", stdin=tmp_path / "up") as connecting:
            assert connecting.wait() == 1
            assert b"the pipe broke" in _pipe(connecting.process.stderr).read()
        assert waiting.wait() == 1


def test_a_pipe_carries_bytes_both_ways(tmp_path: Path) -> None:
    up, down = tmp_path / "up", tmp_path / "down"
    up.write_bytes(Random("up").randbytes(300_000))
    down.write_bytes(Random("down").randbytes(300_000))
    with Command("pipe", *LISTEN, "--json", data=tmp_path / "a", stdin=down) as waiting:
        address = waiting.json(on_stderr=True)["addresses"][0]
        with Command("pipe", address, data=tmp_path / "b", stdin=up) as connecting:
            assert _pipe(connecting.process.stdout).read() == down.read_bytes()
            assert _pipe(waiting.process.stdout).read() == up.read_bytes()
            assert connecting.wait() == 0
            assert waiting.wait() == 0


def test_somebody_else_at_the_address_is_one_sentence(tmp_path: Path) -> None:
    _, [other] = run_to_end("id", data=tmp_path / "other")
    with running(tmp_path / "a") as (_, address):
        transport = address.partition("/p2p/")[0]
        code, [error] = run_to_end(
            "ping", f"{transport}/p2p/{other['peer_id']}", "-c", "1", data=tmp_path / "b"
        )
    assert code == 1
    assert f"expected peer {other['peer_id']}" in error["error"]


def test_a_port_in_use_and_a_key_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    with running(tmp_path / "a") as (_, address):
        transport = address.partition("/p2p/")[0]
        code, [error] = run_to_end("run", "--listen", transport, data=tmp_path / "b")
        assert code == 1
        assert "in use" in error["error"]
    (tmp_path / "b" / "key").write_bytes(b"rubbish")
    code, [error] = run_to_end("id", data=tmp_path / "b")
    assert code == 1
    assert str(tmp_path / "b" / "key") in error["error"]


def test_who_does_not_wait_for_files_gets_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    with running(tmp_path / "a") as (_, address):
        code, [error] = run_to_end("send", str(tmp_path / "x"), address, data=tmp_path / "b")
    assert code == 1
    assert "p2pnode receive" in error["error"]


def test_a_node_writes_qlog_and_keys_where_it_is_asked_to(tmp_path: Path) -> None:
    traces = {name: (tmp_path / name / "qlog", tmp_path / f"{name}.keys") for name in "abc"}

    def options(name: str) -> tuple[str, ...]:
        return "--qlog", str(traces[name][0]), "--key-log", str(traces[name][1])

    with (
        running(tmp_path / "data-a", *options("a")) as (_, address),
        running(tmp_path / "data-b", "--connect", address) as (client, _),
    ):
        client.event("connected")
        # Through the node that runs on the folder, which has its own options.
        with Command(
            "ping", address, "-c", "1", "--json", *options("b"), data=tmp_path / "data-b"
        ) as ping:
            assert ping.wait() == 0
            [note] = _pipe(ping.process.stderr).read().decode().splitlines()
            assert "ignored" in note
        # By a node of its own.
        ping_c = ("ping", address, "-c", "1", *options("c"))
        assert run_to_end(*ping_c, data=tmp_path / "data-c")[0] == 0
    assert not traces["b"][0].exists()
    assert not traces["b"][1].exists()
    for name, role in (("a", "server"), ("c", "client")):
        qlog_dir, key_log = traces[name]
        assert all(file.stem.endswith(role) for file in qlog_dir.iterdir())
        assert any(qlog_dir.iterdir())
        assert "NOISE_UDP_" in key_log.read_text()


def test_the_environment_says_where_qlog_and_keys_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "a") as (_, address):
        monkeypatch.setenv("P2PNODE_QLOG", str(tmp_path / "qlog"))
        monkeypatch.setenv("P2PNODE_KEYLOG", str(tmp_path / "keys"))
        assert run_to_end("identify", address, data=tmp_path / "b")[0] == 0
    assert len(list((tmp_path / "qlog").iterdir())) == 1
    assert len((tmp_path / "keys").read_text().splitlines()) == 2
