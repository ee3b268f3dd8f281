"""The data folder: what is in it survives, stays private, and belongs to one node at a time."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from p2pnode.errors import DataFolderError, DataFolderInUse, KeyFileError
from p2pnode.identity.keys import PrivateKey
from p2pnode.io.control.path import MAX_SOCKET_PATH, control_socket_path
from p2pnode.io.folder.atomic_file import create_file, replace_file
from p2pnode.io.folder.data_folder import (
    FIRST_PORT,
    LAST_PORT,
    DataFolder,
    choose_free_port,
)
from p2pnode.io.os_entropy import os_entropy, os_rng

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX modes and limits")


def test_a_key_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "deep" / "node").load_or_create_key(os_entropy)
    again = DataFolder(tmp_path / "deep" / "node").load_or_create_key(os_entropy)
    assert again.public_key == first.public_key


@posix_only
def test_the_key_and_its_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "node")
    folder.load_or_create_key(os_entropy)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.key_file.stat().st_mode & 0o777 == 0o600


@posix_only
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    folder = DataFolder(tmp_path)
    folder.load_or_create_key(os_entropy)
    folder.key_file.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"chmod 600 {folder.key_file}$"):
        folder.load_or_create_key(os_entropy)


@pytest.mark.parametrize("content", [b"", b"not a key", b"\x08\x01\x12\x40" + bytes(10)])
def test_a_damaged_key_is_one_sentence_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    folder = DataFolder(tmp_path)
    replace_file(folder.key_file, content)
    with pytest.raises(KeyFileError, match=str(folder.key_file)) as caught:
        folder.load_or_create_key(os_entropy)
    assert "\n" not in str(caught.value)
    assert folder.key_file.read_bytes() == content


def test_a_key_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.key_file.mkdir()
    with pytest.raises(KeyFileError, match="cannot read the key file"):
        folder.load_or_create_key(os_entropy)


@posix_only
def test_a_key_link_that_leads_nowhere_is_not_overwritten(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.key_file.symlink_to(tmp_path / "unmounted" / "key")
    with pytest.raises(KeyFileError, match="cannot read the key file"):
        folder.load_or_create_key(os_entropy)
    assert folder.key_file.is_symlink()


def test_starters_at_the_same_moment_get_the_same_key(tmp_path: Path) -> None:
    starters = 8
    barrier, keys = threading.Barrier(starters), list[PrivateKey]()

    def start() -> None:
        barrier.wait()
        keys.append(DataFolder(tmp_path).load_or_create_key(os_entropy))

    threads = [threading.Thread(target=start) for _ in range(starters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == starters
    assert len({key.public_key.data for key in keys}) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["key"]


@posix_only
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    secret = folder.load_or_create_reset_secret(os_entropy)
    with no_room_in_files():
        with pytest.raises(KeyFileError, match="cannot write the key file"):
            folder.load_or_create_key(os_entropy)
        with pytest.raises(DataFolderError, match="cannot write"):
            folder.load_or_choose_port(Random("port"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["reset-secret"]
    assert folder.load_or_create_reset_secret(os_entropy) == secret


def test_a_folder_is_locked_until_it_is_released(tmp_path: Path) -> None:
    folder, other = DataFolder(tmp_path), DataFolder(tmp_path)
    with folder.locked():
        with (
            pytest.raises(DataFolderInUse, match=rf"{tmp_path} is in use .*{os.getpid()}.*--data"),
            other.locked(),
        ):
            raise AssertionError
        folder.load_or_create_key(os_entropy)  # and so can `p2pnode id`
    with other.locked():
        pass


@posix_only
@pytest.mark.slow
def test_a_killed_node_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from p2pnode.io.folder.data_folder import DataFolder\n"
        "with DataFolder(Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    node = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"locked\n"
        with (
            pytest.raises(DataFolderError, match=f"process {node.pid}"),
            DataFolder(tmp_path).locked(),
        ):
            raise AssertionError
        node.send_signal(signal.SIGKILL)
        node.wait()
        with DataFolder(tmp_path).locked():
            pass


def test_a_file_in_the_folders_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataFolderError, match=r"it is not a folder$"):
        DataFolder(tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataFolderError, match=r"^cannot use .*file"):
        DataFolder(tmp_path / "file" / "node")


def test_the_port_is_chosen_once(tmp_path: Path) -> None:
    port = DataFolder(tmp_path).load_or_choose_port(os_rng())
    assert FIRST_PORT <= port <= LAST_PORT
    assert {DataFolder(tmp_path).load_or_choose_port(os_rng()) for _ in range(5)} == {port}


@pytest.mark.parametrize("content", [b"", b"0", b"65536", b"-1", b"4001x", b"9" * 40, b"\xff"])
def test_a_damaged_port_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "port").write_bytes(content)
    port = DataFolder(tmp_path).load_or_choose_port(os_rng())
    assert (tmp_path / "port").read_bytes() == b"%d\n" % port


def test_a_port_in_use_is_not_chosen() -> None:
    first_choice = choose_free_port(Random(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", first_choice))
        assert choose_free_port(Random(1)) != first_choice


def test_the_reset_secret_is_kept_and_remade_when_damaged(tmp_path: Path) -> None:
    secret = DataFolder(tmp_path).load_or_create_reset_secret(os_entropy)
    assert len(secret) == 32
    assert DataFolder(tmp_path).load_or_create_reset_secret(os_entropy) == secret
    (tmp_path / "reset-secret").write_bytes(secret[:5])
    remade = DataFolder(tmp_path).load_or_create_reset_secret(os_entropy)
    assert remade != secret
    assert DataFolder(tmp_path).load_or_create_reset_secret(os_entropy) == remade


def test_creating_never_replaces(tmp_path: Path) -> None:
    create_file(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


@posix_only
def test_the_control_socket_lies_in_a_folder_that_is_not_too_deep() -> None:
    assert control_socket_path(Path("/srv/p2pnode")) == Path("/srv/p2pnode/control.sock")


@posix_only
def test_the_control_socket_of_a_deep_folder_has_a_short_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with short_runtime_folder(monkeypatch) as runtime:
        deep = tmp_path / ("d" * 60) / ("e" * 60)
        path = control_socket_path(deep)
        assert path is not None
        assert runtime in path.parents
        assert len(os.fsencode(path)) <= MAX_SOCKET_PATH
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert control_socket_path(deep) == path
        assert control_socket_path(deep / "f") != path


@posix_only
def test_a_runtime_folder_that_others_can_enter_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with short_runtime_folder(monkeypatch) as runtime:
        shelter = runtime / f"p2pnode-{os.getuid()}"
        shelter.mkdir()
        shelter.chmod(0o777)
        assert control_socket_path(tmp_path / ("d" * 120)) is None


@contextmanager
def no_room_in_files() -> Iterator[None]:
    """Every write fails, as on a full disk."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def short_runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)
