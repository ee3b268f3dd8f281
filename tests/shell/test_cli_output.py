"""What the command line prints, whatever a peer says."""

import io
import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.cli.escape import printable, shorten
from p2pnode.cli.output import Output, set_up_logging
from p2pnode.cli.units import size_text, transfer_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Grüße 文 🙂", "Grüße 文 🙂"),
        ("[bold]as it is[/bold]", "[bold]as it is[/bold]"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\r\n", "a\\x09b\\x0d\\x0a"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\u200bb\u2028", "a\\u200bb\\u2028"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_is_not_visible_as_itself_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_escaped_text_is_printable_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown


def test_long_text_is_cut_and_marked() -> None:
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    Output(is_json=True).emit({"agent_version": "a\nb\x1b\u202eü"}, "unused")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.isascii()
    assert json.loads(out) == {"agent_version": "a\nb\x1b\u202eü"}


def test_json_is_valid_whatever_a_file_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    Output(is_json=True).emit({"file": "gr\udcfc\udfffn \\ud 🙂", "bytes": 3}, "unused")
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"file": "gr\ufffd\ufffdn \\ud 🙂", "bytes": 3}


def test_errors_go_to_stderr_for_people_and_to_stdout_for_scripts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(is_json=False).error("it \x1b failed")
    assert capsys.readouterr() == ("", "p2pnode: it \\x1b failed\n")
    Output(is_json=True).error("it failed")
    assert capsys.readouterr() == ('{"error": "it failed"}\n', "")


def test_a_terminal_without_unicode_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Output(is_json=False).text("größer")
    assert raw.getvalue() == b"gr\\xf6\\xdfer\n"


def test_the_log_is_escaped_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(logging.WARNING)
    logging.getLogger("p2pnode.test").warning("the peer said %s", "\x1b[2J")
    assert "the peer said \\x1b[2J" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_transfer_that_took_no_time_has_no_rate() -> None:
    assert transfer_text(1024, 0) == "1.0 KiB in 0.0 s"
    assert transfer_text(1 << 20, 2) == "1.0 MiB in 2.0 s (512.0 KiB/s)"
