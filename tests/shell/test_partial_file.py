"""Files that are not whole yet: p2pnode/io/applications/partial_file.py and incoming_file.py."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pnode.io.applications.incoming_file import IncomingFile
from p2pnode.io.applications.partial_file import (
    PARTIAL_PREFIX,
    PARTIAL_SUFFIX,
    NamedFile,
    PartialFile,
    UnnamedFile,
    open_partial_file,
    remove_leftovers,
)

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs flock")


def has_unnamed_files(folder: Path) -> bool:
    try:
        UnnamedFile(folder).discard()
    except OSError:
        return False
    return True


@pytest.fixture(params=[UnnamedFile, NamedFile])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], PartialFile]:
    if request.param is UnnamedFile and not has_unnamed_files(tmp_path):
        pytest.skip("this file system has no unnamed files")
    return request.param


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def test_a_file_has_its_name_only_when_it_is_published(
    kind: Callable[[Path], PartialFile], tmp_path: Path
) -> None:
    file = IncomingFile(tmp_path, kind(tmp_path))
    file.write(b"abc")
    file.write(bytearray(b"def"))
    assert visible(tmp_path) == []
    assert file.publish("x.bin") == tmp_path / "x.bin"
    file.discard()
    assert os.listdir(tmp_path) == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b"abcdef"


def test_a_name_that_is_taken_gets_a_number(
    kind: Callable[[Path], PartialFile], tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(b"mine")
    (tmp_path / "x (1).bin").symlink_to(tmp_path / "nowhere")
    file = IncomingFile(tmp_path, kind(tmp_path))
    file.write(b"theirs")
    assert file.publish("x.bin") == tmp_path / "x (2).bin"
    file.discard()
    assert (tmp_path / "x.bin").read_bytes() == b"mine"
    assert (tmp_path / "x (2).bin").read_bytes() == b"theirs"
    assert len(os.listdir(tmp_path)) == 3


def test_a_file_that_is_discarded_leaves_nothing(
    kind: Callable[[Path], PartialFile], tmp_path: Path
) -> None:
    file = IncomingFile(tmp_path, kind(tmp_path))
    file.write(b"abc")
    file.discard()
    file.discard()
    assert os.listdir(tmp_path) == []


@posix_only
def test_a_published_file_has_the_mode_that_the_umask_leaves(
    kind: Callable[[Path], PartialFile], tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        file = IncomingFile(tmp_path, kind(tmp_path))
    finally:
        os.umask(before)
    path = file.publish("x")
    file.discard()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_where_there_are_no_unnamed_files_a_named_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    file = open_partial_file(tmp_path)
    assert isinstance(file, NamedFile)
    [name] = os.listdir(tmp_path)
    assert name.startswith(PARTIAL_PREFIX)
    assert name.endswith(PARTIAL_SUFFIX)
    file.discard()


def test_a_folder_that_cannot_be_written_to_is_told_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_partial_file(tmp_path / "missing")


@posix_only
def test_leftovers_are_removed_and_files_in_use_are_not(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from p2pnode.io.applications.partial_file import NamedFile;"
        "file = NamedFile(Path(sys.argv[1])); os.write(file.descriptor, b'abc');"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    [leftover] = os.listdir(tmp_path)
    file = NamedFile(tmp_path)
    [in_use] = set(os.listdir(tmp_path)) - {leftover}
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [in_use]
    file.publish(tmp_path / "x")
    file.discard()
    assert os.listdir(tmp_path) == ["x"]


@posix_only
def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"abc")
    kept = [
        mine,
        tmp_path / f"{PARTIAL_PREFIX}notes.txt",
        tmp_path / f"{PARTIAL_PREFIX}link{PARTIAL_SUFFIX}",
        tmp_path / f"{PARTIAL_PREFIX}folder{PARTIAL_SUFFIX}",
        tmp_path / f"{PARTIAL_PREFIX}fifo{PARTIAL_SUFFIX}",
    ]
    kept[1].write_bytes(b"abc")
    kept[2].symlink_to(mine)
    kept[3].mkdir()
    os.mkfifo(kept[4])
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "missing")
    assert sorted(tmp_path.iterdir()) == sorted(kept)
