"""Sizes and rates as people read them."""

import re

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", re.ASCII)
_FACTORS = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}


def size_text(size: float) -> str:
    """Returns for instance "1.5 MiB" for a number of bytes."""
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:
        size /= 1024
        power += 1
    return f"{size:.0f} {_UNITS[0]}" if power == 0 else f"{size:.1f} {_UNITS[power]}"


def transfer_text(size: int, seconds: float) -> str:
    """Returns for instance "1.0 GiB in 4.2 s (243.8 MiB/s)"."""
    rate = f" ({size_text(size / seconds)}/s)" if seconds > 0 else ""
    return f"{size_text(size)} in {seconds:.1f} s{rate}"


def parse_size(text: str) -> int | None:
    """Returns the bytes of for instance "10MB", "1.5 GiB" or "0"; None for what is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    factor = _FACTORS.get(found[2].lower())
    return None if factor is None else int(float(found[1]) * factor)
