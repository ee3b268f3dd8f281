"""Text of any origin as one line for people: each character visible as itself, or as an escape.

Rule: what a peer said enters a sentence by `quoted`, a column by `said`; what is printed, logged or
raised goes through `printable` once more, where it is printed (`cli.output`) or raised (the root of
`errors`).  So a line that somebody forgot stays one line, and takes hold of no terminal.
"""

import re
import unicodedata
from typing import Final

MAX_TEXT_LENGTH: Final = 300
"""characters; chosen: longer than what honest peers say of themselves"""

# Drawn as nothing, or as a blank, though they are letters, marks or symbols: what is in Unicode's
# Default_Ignorable_Code_Point and in no category of `is_hidden`; and the Braille pattern U+2800.
INVISIBLE_LETTERS: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


def printable(text: str) -> str:
    """Returns the text with everything that is not visible as itself written as an escape.

    Escapes stay as they are, so that it may be done twice.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if is_hidden(c) else c for c in text)


def said(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Returns the text, printable, cut and marked as cut where it is too long."""
    # Cut on both sides of the escaping: a text may be long, and escapes are longer.
    return _cut(printable(_cut(text, max_length)), max_length)


def quoted(text: str) -> str:
    """Returns the text between quotation marks, which it cannot leave, for a sentence."""
    return '"' + said(text).replace('"', '\\"') + '"'


def is_hidden(c: str) -> bool:
    """True for a character that is not seen, or not seen as itself."""
    # C*: control, format (bidi overrides, zero width), surrogate, private, unassigned.
    # Zl, Zp: line and paragraph separators.  Spaces other than the usual one pass for it.
    category = unicodedata.category(c)
    return c != " " and (category[0] in "CZ" or INVISIBLE_LETTERS.match(c) is not None)


def _cut(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _escape(c: str) -> str:
    code = ord(c)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
