"""Which interfaces are bridges of containers or virtual machines alone, as far as Linux tells.

Every machine with Docker has the same 172.17.0.1 on one: who is told it reaches himself.  A
router's br-lan is a bridge as well, but has a physical port, and a host whose own address is on a
bridge has its default route there.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

MAX_LAYERS: Final = 8
"""interfaces on top of one another; chosen: a VLAN on a bond in a bridge is three"""

MAX_ROUTES_READ: Final = 64 * 1024
"""characters of a table of routes; chosen: default routes come first, and a router that speaks BGP
has a million others"""

_RTF_UP, _RTF_REJECT = 0x1, 0x200  # linux/route.h
_MAX_DEFAULT_PREFIX = (
    3  # bits; VPNs route 0.0.0.0/1 and 128.0.0.0/1, and 2000::/3 is IPv6's Internet
)


class SystemFiles(NamedTuple):
    """Where Linux tells of its network; on other systems there is nothing, and nothing is told."""

    net: Path = Path("/sys/class/net")
    proc: Path = Path("/proc/net")


DEFAULT_FILES: Final = SystemFiles()


def is_virtual_bridge(interface: str, files: SystemFiles, routed: frozenset[str]) -> bool:
    """True for a bridge without a physical port that is not in `routed`."""
    folder = files.net / interface
    if os.sep in interface or interface in routed or not (folder / "bridge").is_dir():
        return False
    ports = _names(folder / "brif")
    return not any(_is_physical(files.net / port, MAX_LAYERS) for port in ports)


def default_routes(files: SystemFiles) -> frozenset[str]:
    """Returns the interfaces that packets for the Internet leave through."""
    found: set[str] = set()
    for line in _lines(files.proc / "route"):
        with contextlib.suppress(ValueError, IndexError):
            # interface, destination, gateway, flags, …, mask
            columns = line.split()
            prefix_length = int(columns[7], 16).bit_count()
            if _is_default(int(columns[3], 16), prefix_length):
                found.add(columns[0])
    for line in _lines(files.proc / "ipv6_route"):
        with contextlib.suppress(ValueError, IndexError):
            # destination, its prefix, …, flags, interface
            columns = line.split()
            if _is_default(int(columns[8], 16), int(columns[1], 16)):
                found.add(columns[9])
    return frozenset(found)


def _is_default(flags: int, prefix_length: int) -> bool:
    is_usable = bool(flags & _RTF_UP) and not flags & _RTF_REJECT
    return is_usable and prefix_length <= _MAX_DEFAULT_PREFIX


def _is_physical(interface: Path, layers: int) -> bool:
    """True for what has a device of its own, or lies on such: a bond, a VLAN."""
    if (interface / "device").exists():
        return True
    if layers == 0:
        return False
    below = (name for name in _names(interface) if name.startswith("lower_"))
    return any(_is_physical(interface / name, layers - 1) for name in below)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _lines(file: Path) -> list[str]:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read(MAX_ROUTES_READ).splitlines()
    except OSError:
        return []
