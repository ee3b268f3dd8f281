"""What the command line prints, whatever a peer says."""

import io
import json
import logging
import sys

import pytest

from p2pnode.cli.output import Output, set_up_logging
from p2pnode.cli.units import size_text, transfer_text


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


def test_a_text_is_one_line_and_several_texts_are_several(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(is_json=False).emit({}, "one\ntwo\r\u2028three", "four")
    assert capsys.readouterr().out == "one\\x0atwo\\x0d\\u2028three\nfour\n"


def test_the_text_of_an_exception_in_the_log_passes_for_no_line_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging(logging.WARNING)
    try:
        raise ValueError("it\nERROR p2pnode: forged")
    except ValueError:
        logging.getLogger("p2pnode.test").exception("the handler\nfailed")
    first, *trace = capsys.readouterr().err.splitlines()
    assert first == "ERROR p2pnode.test: the handler\\x0afailed"
    assert trace[-1] == "    ERROR p2pnode: forged"
    assert all(line.startswith("    ") for line in trace)


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
