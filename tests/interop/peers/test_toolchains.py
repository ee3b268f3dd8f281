"""A peer is built once for each state of its sources; without a toolchain it is only missing."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers import toolchains
from tests.interop.peers.toolchains import BuildFailed, Command, Missing, Toolchain, built

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no peers but on Linux")

COUNT = "import pathlib; p = pathlib.Path('builds'); p.open('a').write('built ')"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources of a peer that is built by writing down that it was."""
    folder = tmp_path / "sources" / "toy"
    folder.mkdir(parents=True)
    (folder / "lock").write_text("version 1")
    (folder / "main").write_text("program 1")
    monkeypatch.setattr(toolchains, "HERE", folder.parent)
    use(monkeypatch, COUNT)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, program: str, tool: str = sys.executable) -> None:
    def commands(_: Path) -> Iterator[Command]:
        yield (sys.executable, "-c", program)

    toy = Toolchain((tool,), ("lock",), commands, lambda folder: (str(folder / "builds"),))
    monkeypatch.setattr(toolchains, "TOOLCHAINS", {"toy": toy})


def builds(cache: Path) -> list[str]:
    (start,) = built("toy", cache)
    return Path(start).read_text().split()


def test_what_is_built_is_not_built_again(sources: Path, tmp_path: Path) -> None:
    assert builds(tmp_path) == ["built"]
    assert builds(tmp_path) == ["built"]


def test_another_program_is_built_where_its_dependencies_are(sources: Path, tmp_path: Path) -> None:
    builds(tmp_path)
    (sources / "main").write_text("program 2")

    assert builds(tmp_path) == ["built", "built"]


def test_a_source_that_is_gone_takes_no_part_in_the_next_build(
    sources: Path, tmp_path: Path
) -> None:
    builds(tmp_path)
    (sources / "main").rename(sources / "other")
    (start,) = built("toy", tmp_path)

    assert not Path(start).with_name("main").exists()
    assert Path(start).with_name("other").exists()


def test_other_dependencies_are_fetched_into_a_folder_of_their_own(
    sources: Path, tmp_path: Path
) -> None:
    builds(tmp_path)
    (sources / "lock").write_text("version 2")

    assert builds(tmp_path) == ["built"]


def test_a_missing_toolchain_is_named(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, COUNT, tool="no-such-compiler")

    with pytest.raises(Missing, match="no-such-compiler"):
        built("toy", tmp_path)


def test_a_build_that_fails_says_what_it_printed_and_is_tried_again(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "raise SystemExit('does not compile')")
    with pytest.raises(BuildFailed, match="does not compile"):
        built("toy", tmp_path)

    use(monkeypatch, COUNT)
    assert builds(tmp_path) == ["built"]
