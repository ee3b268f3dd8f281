"""Sizes, rates, times and ways as people read them."""

import re
from collections.abc import Iterable

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", re.ASCII)
_TIMES = (("years", 365.25 * 86_400), ("days", 86_400.0), ("h", 3600.0), ("min", 60.0))
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


def duration_text(seconds: float) -> str:
    """Returns for instance "1 h", "1.5 h" or "56 years", to two digits or so."""
    for unit, size in _TIMES:
        count = seconds / size
        if count >= (2 if unit in ("years", "days") else 0.995):
            return (
                f"{count:.0f} {unit}"
                if count >= 9.95
                else f"{count:.1f} {unit}".replace(".0 ", " ")
            )
    return f"{seconds:.0f} s"


def clock_text(ahead: float) -> str:
    """Returns for instance "1 h behind ours", for a clock that is -3600 s ahead of ours."""
    if not ahead:
        return "as ours"
    return f"{duration_text(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours"


def parse_size(text: str) -> int | None:
    """Returns the bytes of for instance "10MB", "1.5 GiB" or "0"; None for what is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    factor = _FACTORS.get(found[2].lower())
    return None if factor is None else int(float(found[1]) * factor)


def path_text(path: str, is_limited: bool | None) -> str:
    """Returns which way packets go, and whether a relay ends that after a while."""
    return f"{path}, limited" if is_limited else path


def carriers_text(addresses: Iterable[str]) -> str:
    """Returns what has to get through to these addresses: UDP, TCP, or either."""
    found = dict.fromkeys("TCP" if "/tcp/" in address else "UDP" for address in addresses)
    return " or ".join(found)
