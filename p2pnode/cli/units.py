"""Sizes and rates as people read them."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


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
