"""Text of any origin as one line for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.escape import MAX_TEXT_LENGTH, printable, quoted, said

ANY_TEXT = st.text(st.characters())  # lone surrogates included


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
        ("a\u200bb\u2028\u2029\x85", "a\\u200bb\\u2028\\u2029\\x85"),
        ("a\u3164b\u2800\ufe0f\u115f", "a\\u3164b\\u2800\\ufe0f\\u115f"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_is_not_visible_as_itself_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_escaped_text_is_printable_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown


def test_long_text_is_cut_and_marked() -> None:
    assert said("abcdef", 4) == "abc…"
    assert said("abcd", 4) == "abcd"


@given(ANY_TEXT)
def test_what_was_said_is_bounded_after_it_was_escaped(text: str) -> None:
    assert len(said(text * 100)) <= MAX_TEXT_LENGTH


@given(ANY_TEXT)
def test_what_is_quoted_does_not_leave_its_quotation_marks(text: str) -> None:
    inside = quoted(text)[1:-1]
    assert '"' not in inside.replace('\\"', "")
    assert quoted(text).isprintable()


def test_a_quotation_in_a_quotation_is_seen_as_one() -> None:
    assert quoted('it "works"') == '"it \\"works\\""'
