"""The README's table is what the last whole run of the matrix has found."""

import pytest

from tests.interop.peers import matrix
from tests.interop.peers.cells import CELLS, CHECKS
from tests.interop.peers.limits import failing
from tests.interop.peers.toolchains import TOOLCHAINS


def test_the_readme_says_what_the_last_run_found() -> None:
    page = matrix.README.read_text(encoding="utf-8")

    assert matrix.block_of(page) == matrix.block(matrix.load())


def test_the_last_run_was_with_the_libraries_and_limits_of_today() -> None:
    found = matrix.load()

    assert found == matrix.results(found.date)


def test_the_matrix_has_96_cells() -> None:
    assert len(list(matrix.places())) * len(CELLS) == 96


def test_a_cell_that_fails_because_of_a_library_is_not_counted_and_is_named() -> None:
    versions = dict.fromkeys(TOOLCHAINS, "1.2.3")
    place = " ".join(next(matrix.places()))

    table = matrix.block(matrix.Results("2026-11-28", versions, {place: ["ping", "reset"]}))

    assert table.count("| 4 of 6, not ping and reset |") == 1
    assert table.count("| 6 of 6") == len(list(matrix.places())) - 1


@pytest.mark.parametrize(
    ("asking", "asked", "fails"),
    [
        ("rust", "p2pnode", {"reset"}),
        ("p2pnode", "rust", {"be reset"}),
        ("rust", "rust", set()),
        ("rust", "js", {"reset"}),
        ("js", "rust", {"be reset"}),
        ("p2pnode", "go", set()),
    ],
)
def test_what_fails_is_the_library_s_that_it_fails_for(
    asking: str, asked: str, fails: set[str]
) -> None:
    found = failing(asking, asked, "quic-v1", is_certain=True)
    assert found.keys() & CHECKS.keys() == fails


@pytest.mark.parametrize("library", TOOLCHAINS)
def test_a_version_is_read_from_the_lock_file(library: str) -> None:
    major, minor, patch = matrix.version(library).split(".")

    assert f"{major}{minor}{patch}".isdigit()
