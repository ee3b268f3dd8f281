"""Names that peers give to files, made safe to create in a folder.

Rule: the result is one visible path component that every common file system takes, on every
platform alike, so that a file can be moved on; it never names anything outside of the folder, and a
shell takes it for no option.
"""

import re
import unicodedata
from collections.abc import Iterator

from p2pnode.escape import is_hidden

MAX_FILE_NAME_SIZE = 200  # bytes of UTF-8; NAME_MAX is 255, and " (123)" has to fit behind it
MAX_EXTENSION_SIZE = 20  # bytes of UTF-8; chosen: longer ones are not extensions
MAX_NUMBERED_NAMES = 9999  # chosen: then something else is wrong

_FORBIDDEN = frozenset('<>:"|?*')  # by Windows
_SEPARATORS = frozenset("/\\")
_LIKE_SEPARATORS = frozenset("\u2044\u2215\u2216\u29f5\u29f8")
"""Fraction and division slashes and their like: what has a separator's shape and is no variant."""

# The superscripts are digits to Windows ("Naming Files, Paths, and Namespaces").
_DEVICES = frozenset(
    (
        *("con", "prn", "aux", "nul", "conin$", "conout$"),
        *(f"{kind}{digit}" for kind in ("com", "lpt") for digit in "0123456789¹²³"),
    )
)


def safe_file_name(name: str) -> str:
    """Returns a harmless name that resembles `name`, which may be anything."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).rpartition("/")[2]
    # Blanks are one: many would push the extension out of sight.
    name = re.sub(" +", " ", "".join(map(_harmless, name)))
    # Again, since what was left out may have stood between a letter and its mark.
    name = unicodedata.normalize("NFC", name)
    # No hidden files and no "..", and none whose last dots Windows would swallow.
    name = name.strip(" .") or "file"
    # Options and home folders of a shell; a mark is drawn on what stands before the name.
    is_misread = name[0] in "-~" or unicodedata.category(name[0])[0] == "M"
    if is_misread or name.partition(".")[0].rstrip().lower() in _DEVICES:
        name = f"_{name}"
    stem, extension = _split(name)
    room = MAX_FILE_NAME_SIZE - len(extension.encode())
    return _cut(stem, room).rstrip(" .") + extension


def numbered_names(name: str) -> Iterator[str]:
    """Yields the name, then "name (1).ext" and so on: where to go when it is taken."""
    yield name
    stem, extension = _split(name)
    for number in range(1, MAX_NUMBERED_NAMES + 1):
        yield f"{stem} ({number}){extension}"


def collision_key(name: str) -> str:
    """Returns what is equal for names that some file system takes for one, and many a reader."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _harmless(c: str) -> str:
    if unicodedata.category(c)[0] == "Z":
        return " "
    if is_hidden(c):
        return ""
    if c in _FORBIDDEN or c in _LIKE_SEPARATORS:
        return "_"
    # For instance the full-width slash.
    return "_" if not _SEPARATORS.isdisjoint(unicodedata.normalize("NFKC", c)) else c


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > MAX_EXTENSION_SIZE:
        return name, ""
    return stem, dot + extension


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")
