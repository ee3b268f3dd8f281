"""Names that peers give to files."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.io.applications.file_name import (
    MAX_FILE_NAME_SIZE,
    numbered_names,
    safe_file_name,
)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("Grüße 2.txt", "Grüße 2.txt"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\autoexec.bat", "autoexec.bat"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("a/", "file"),
        (".bashrc", "bashrc"),
        ("...hidden", "hidden"),
        ("trailing. . ", "trailing"),
        ("a\nb\x1b[2Jc", "ab[2Jc"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("zero\u200bwidth", "zerowidth"),
        ('a<b>:"|?*', "a_b______"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console.txt", "console.txt"),
        ("x\udcff", "x"),
    ],
)
@pytest.mark.spec("FILE-5")
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


def test_a_long_name_is_cut_and_keeps_its_extension() -> None:
    name = safe_file_name("ß" * 300 + ".tar.gz")
    assert name.endswith("ß.gz")
    assert len(name.encode()) <= MAX_FILE_NAME_SIZE


@given(st.text(max_size=400))
def test_any_name_becomes_one_visible_component(name: str) -> None:
    safe = safe_file_name(name)
    assert safe
    assert 0 < len(safe.encode()) <= MAX_FILE_NAME_SIZE
    assert not set(safe) & set('/\\\0<>:"|?*')
    assert not safe.startswith((".", " "))
    assert not safe.endswith((".", " "))


@given(st.text(max_size=400))
def test_a_safe_name_is_safe_already(name: str) -> None:
    safe = safe_file_name(name)
    assert safe_file_name(safe) == safe


def test_a_taken_name_gets_a_number_before_its_extension() -> None:
    assert list(itertools.islice(numbered_names("a.txt"), 3)) == ["a.txt", "a (1).txt", "a (2).txt"]
    assert list(itertools.islice(numbered_names("README"), 2)) == ["README", "README (1)"]
