"""Names that peers give to files."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.io.applications.file_name import (
    MAX_FILE_NAME_SIZE,
    collision_key,
    numbered_names,
    safe_file_name,
)
from p2pnode.io.applications.incoming_file import IncomingFile


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
        ("-rf", "_-rf"),
        (" -rf", "_-rf"),
        ("~root", "_~root"),
        ("com1", "_com1"),
        ("COM¹", "_COM¹"),
        ("lpt³.log", "_lpt³.log"),
        ("CONIN$", "_CONIN$"),
        ("conout$.txt", "_conout$.txt"),
        ("aux .tar.gz", "_aux .tar.gz"),
        ("a\u3164\u115f\u2800\ufe0fb", "ab"),
        ("\u3164", "file"),
        ("a\u2028b\u00a0\u3000c", "a b c"),
        ("bill.pdf" + " " * 90 + ".exe", "bill.pdf.exe"),
        ("a\u2215b\uff0fc\u2044d\u29f5e\u2105", "a_b_c_d_e_"),
        ("a\uff1f.txt", "a\uff1f.txt"),
        ("\u0301x", "_\u0301x"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("e\u200d\u0301.txt", "\u00e9.txt"),
    ],
)
@pytest.mark.spec("FILE-5")
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


def test_a_long_name_is_cut_and_keeps_its_extension() -> None:
    name = safe_file_name("ß" * 300 + ".tar.gz")
    assert name.endswith("ß.gz")
    assert len(name.encode()) <= MAX_FILE_NAME_SIZE


@given(st.text(st.characters(), max_size=400))
def test_any_name_becomes_one_visible_component(name: str) -> None:
    safe = safe_file_name(name)
    assert safe
    assert 0 < len(safe.encode()) <= MAX_FILE_NAME_SIZE
    assert not set(safe) & set('/\\\0<>:"|?*')
    assert not safe.startswith((".", " "))
    assert not safe.endswith((".", " "))
    assert safe.isprintable()
    assert not safe.startswith(("-", "~"))


@given(st.text(max_size=400))
def test_a_safe_name_is_safe_already(name: str) -> None:
    safe = safe_file_name(name)
    assert safe_file_name(safe) == safe


def test_a_taken_name_gets_a_number_before_its_extension() -> None:
    assert list(itertools.islice(numbered_names("a.txt"), 3)) == ["a.txt", "a (1).txt", "a (2).txt"]
    assert list(itertools.islice(numbered_names("README"), 2)) == ["README", "README (1)"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.txt", "A.TXT"), ("\u00e9", "e\u0301"), ("Maße", "MASSE"), ("\ufb01", "fi"), ("²", "2")],
)
def test_names_that_some_file_system_or_reader_takes_for_one_collide(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)
    assert collision_key("a") != collision_key("b")


@pytest.mark.spec("FILE-5")
@pytest.mark.parametrize("there", ["REPORT.pdf", "report.pdf", "re\u0301port.pdf"])
def test_a_file_does_not_come_beside_one_that_passes_for_it(tmp_path: Path, there: str) -> None:
    name = safe_file_name(there.lower())
    (tmp_path / there).write_bytes(b"the user's")
    file = IncomingFile(tmp_path)
    file.write(b"the peer's")
    stem = name.removesuffix(".pdf")
    assert file.publish(name) == tmp_path / f"{stem} (1).pdf"
    assert (tmp_path / there).read_bytes() == b"the user's"
    file.discard()
