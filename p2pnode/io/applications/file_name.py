"""Names that peers give to files, made safe to create in a folder.

Rule: the result is one visible path component that every common file system takes, on every
platform alike, so that a file can be moved on; it never names anything outside of the folder.
"""

import unicodedata
from collections.abc import Iterator

MAX_FILE_NAME_SIZE = 200  # bytes of UTF-8; NAME_MAX is 255, and " (123)" has to fit behind it
MAX_EXTENSION_SIZE = 20  # bytes of UTF-8; chosen: longer ones are not extensions
MAX_NUMBERED_NAMES = 9999  # chosen: then something else is wrong

_FORBIDDEN = frozenset('<>:"|?*')  # by Windows
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10)))
)


def safe_file_name(name: str) -> str:
    """Returns a harmless name that resembles `name`, which may be anything."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).rpartition("/")[2]
    # Categories C*: control, bidi overrides and other formatting, surrogates, unassigned.
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C")
    name = "".join("_" if c in _FORBIDDEN else c for c in name)
    # No hidden files and no "..", and none whose last dots Windows would swallow.
    name = name.strip(" .") or "file"
    if name.partition(".")[0].rstrip().lower() in _DEVICES:
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


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > MAX_EXTENSION_SIZE:
        return name, ""
    return stem, dot + extension


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")
