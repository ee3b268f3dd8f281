"""What other users of the machine own, can write to or have put in the way is not used."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pnode import open_node
from p2pnode.cli.main import main
from p2pnode.errors import DataFolderError, KeyFileError, P2PNodeError, TraceFileError
from p2pnode.io.control import local_socket
from p2pnode.io.control.client import ControlClient
from p2pnode.io.control.path import control_socket_path
from p2pnode.io.folder.data_folder import DataFolder
from p2pnode.io.folder.ownership import folder_trouble
from p2pnode.io.os_entropy import os_entropy
from p2pnode.io.trace_files import TraceFiles, check_traces

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX modes and owners")

STRANGER = 54321  # a uid that nobody has here


def give_away(path: Path) -> None:
    """Makes it another user's; a test of that needs root."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(path, STRANGER, -1, follow_symlinks=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    path.mkdir(mode=0o700)
    return path


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722, 0o1777])
def test_a_data_folder_that_others_can_write_to_is_refused_with_the_remedy(
    folder: Path, mode: int
) -> None:
    folder.chmod(mode)
    with pytest.raises(DataFolderError, match=f"chmod go-w {folder}$"):
        DataFolder(folder)
    folder.chmod(mode & 0o755)
    DataFolder(folder)


def test_a_data_folder_of_another_user_is_refused(folder: Path) -> None:
    give_away(folder)
    with pytest.raises(DataFolderError, match=f"another user \\(uid {STRANGER}\\); name a folder"):
        DataFolder(folder)


@pytest.mark.parametrize("inside", [False, True])
def test_a_link_that_another_user_has_put_in_the_way_is_not_followed(
    tmp_path: Path, folder: Path, inside: bool
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path if inside else folder)
    named = link / "node" if inside else link
    DataFolder(named)  # the user's own link
    give_away(link)
    with pytest.raises(DataFolderError, match=f"link {link} belongs to another user"):
        DataFolder(named)


def test_a_key_of_another_user_is_refused(folder: Path) -> None:
    data = DataFolder(folder)
    data.load_or_create_key(os_entropy)
    give_away(data.key_file)
    with pytest.raises(KeyFileError, match=f"belongs to another user \\(uid {STRANGER}"):
        data.load_or_create_key(os_entropy)


def test_a_reset_secret_that_others_can_read_is_refused_with_the_remedy(folder: Path) -> None:
    data = DataFolder(folder)
    secret = data.load_or_create_reset_secret(os_entropy)
    (folder / "reset-secret").chmod(0o644)
    with pytest.raises(DataFolderError, match=f"chmod 600 {folder}/reset-secret$"):
        data.load_or_create_reset_secret(os_entropy)
    (folder / "reset-secret").chmod(0o600)
    assert data.load_or_create_reset_secret(os_entropy) == secret


def hard_link(path: Path) -> None:
    other = path.with_name("other")
    other.touch(mode=0o600)
    path.hardlink_to(other)


def link(path: Path) -> None:
    other = path.with_name("other")
    other.touch(mode=0o600)
    path.symlink_to(other)


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def open_to_others(path: Path) -> None:
    path.touch()
    path.chmod(0o644)


def of_another(path: Path) -> None:
    path.touch(mode=0o600)
    give_away(path)


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


TRAPS: list[tuple[Callable[[Path], None], str]] = [
    (link, "it is a link; name the file itself"),
    (dangling_link, "it is a link"),
    (hard_link, "hard links"),
    (open_to_others, "chmod 600"),
    (of_another, "belongs to another user"),
    (pipe, "no regular file"),
]


@pytest.mark.parametrize(("trap", "remedy"), TRAPS)
def test_keys_are_not_logged_to_what_is_not_ours_alone(
    folder: Path, trap: Callable[[Path], None], remedy: str
) -> None:
    trap(folder / "keys")
    with pytest.raises(TraceFileError, match=remedy):
        check_traces(folder / "keys", None)


@pytest.mark.parametrize("trap", [trap for trap, _ in TRAPS])
def test_nor_to_what_was_put_there_since_the_node_began(
    folder: Path, trap: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    keys = folder / "keys"
    check_traces(keys, None)
    trap(keys)
    TraceFiles(Secrets(), keys, None).flush()
    assert caplog.text.count("cannot be written") == 1
    assert [path.stat().st_size for path in folder.iterdir() if path.is_file()] in ([], [0], [0, 0])


class Secrets:
    def poll_key_log(self) -> list[str]:
        return ["secret"]

    def poll_qlog(self) -> list[tuple[str, list[str]]]:
        return []


def test_logs_go_to_no_folder_where_others_can_swap_them(folder: Path) -> None:
    folder.chmod(0o777)
    for key_log, qlog_dir in ((folder / "keys", None), (None, folder)):
        with pytest.raises(TraceFileError, match=f"chmod go-w {folder}$"):
            check_traces(key_log, qlog_dir)
    folder.chmod(0o1777)  # as /tmp is
    check_traces(folder / "keys", folder)
    assert folder_trouble(folder) is not None, "for a node's data that is not enough"


def test_logs_go_to_no_folder_of_another_user(folder: Path) -> None:
    give_away(folder)
    for key_log, qlog_dir in ((folder / "keys", None), (None, folder)):
        with pytest.raises(TraceFileError, match="belongs to another user"):
            check_traces(key_log, qlog_dir)


async def test_a_node_whose_keys_would_go_to_others_does_not_start(folder: Path) -> None:
    (folder / "keys").touch()
    (folder / "keys").chmod(0o644)
    with pytest.raises(TraceFileError, match="chmod 600"):
        async with open_node(listen=[], key_log=folder / "keys"):
            pass


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """One that the path of a socket may lie in."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


async def test_nothing_is_asked_where_another_user_listens(short_folder: Path) -> None:
    path = short_folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        give_away(path)
        with pytest.raises(P2PNodeError, match=f"another user \\(uid {STRANGER}\\); run this as"):
            await ControlClient(path).try_info()
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.accept()


def listening_as(uid: int, path: Path) -> subprocess.Popen[bytes]:
    """Returns a process of that user that listens, until its stdin ends."""
    program = (
        "import os, socket, sys\n"
        "os.setuid(int(sys.argv[1]))\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "sock.bind(sys.argv[2])\n"
        "sock.listen()\n"
        "print('listens', flush=True)\n"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(uid), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"listens\n"
    return process


async def test_root_may_ask_the_node_of_who_owns_the_folder(short_folder: Path) -> None:
    give_away(short_folder)
    path = short_folder / "control.sock"
    with listening_as(STRANGER, path) as process:
        stream = await local_socket.connect(path)
        assert stream is not None
        await stream.aclose()
        assert process.stdin is not None
        process.stdin.close()


async def test_a_socket_that_was_replaced_while_it_was_looked_at_is_not_used(
    short_folder: Path,
) -> None:
    path = short_folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()  # as root; so who listens is not the owner
        give_away(path)
        give_away(short_folder)
        with pytest.raises(P2PNodeError, match="it was replaced"):
            await local_socket.connect(path)


async def test_a_socket_that_is_not_there_is_no_node(short_folder: Path) -> None:
    assert await local_socket.connect(short_folder / "control.sock") is None


def test_a_shelter_that_others_can_enter_is_told(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_folder))
    shelter = short_folder / f"p2pnode-{os.getuid()}"
    shelter.mkdir()
    shelter.chmod(0o777)
    assert control_socket_path(short_folder / ("d" * 120)) is None
    assert f"others can enter the folder {shelter}; remove it" in caplog.text


@pytest.mark.parametrize("arguments", [["id"], ["run", "--listen", "/ip4/127.0.0.1/udp/0/noise"]])
def test_the_program_says_in_one_sentence_what_is_wrong_with_its_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    folder.chmod(0o777)
    assert main([*arguments, "--data", str(folder)]) == 1
    out, err = capsys.readouterr()
    remedy = f"other users can write to it; chmod go-w {folder}"
    assert (out, err) == ("", f"p2pnode: cannot use {folder}: {remedy}\n")
    assert list(folder.iterdir()) == []


def test_the_program_makes_a_folder_for_traces_that_is_for_the_user_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces, keys = folder / "traces", folder / "keys"
    keys.touch()
    keys.chmod(0o666)
    arguments = ["--qlog", str(traces), "--key-log", str(keys), "--data", str(folder)]
    assert main(["ping", "/ip4/127.0.0.1/udp/9/noise", "-c", "1", *arguments]) == 1
    assert f"chmod 600 {keys}" in capsys.readouterr().err
    assert stat.S_IMODE(traces.stat().st_mode) == 0o700
