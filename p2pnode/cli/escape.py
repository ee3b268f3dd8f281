"""Text of any origin, made harmless for a terminal.

Rule: what a peer said reaches the terminal only through here: no control character, nothing that
turns the direction of the text around it, nothing invisible, and not without end.
"""

import unicodedata

MAX_TEXT_LENGTH = 300  # characters; chosen: longer than what honest peers say of themselves


def printable(text: str) -> str:
    """Returns the text with everything that is not visible as itself written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_harmless(c) else _escape(c) for c in text)


def shorten(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Returns the text, cut and marked as cut where it is too long."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _is_harmless(c: str) -> bool:
    # C*: control, format (bidi overrides, zero width), surrogate, private, unassigned.
    # Zl, Zp: line and paragraph separators.  Spaces other than the usual one pass for it.
    category = unicodedata.category(c)
    return c == " " or category[0] not in "CZ"


def _escape(c: str) -> str:
    code = ord(c)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
