"""The machine's own addresses, and when they change or the machine slept.

The system is asked every few seconds: that works everywhere and costs half a millisecond, or more
than a tenth of a second with a thousand addresses, so others have their turns meanwhile.  A
suspended machine does not notice it, but its boot clock goes on where the monotonic clock stood
still.  Both are told because every path has to be validated anew then (specs/transport.md).
"""

import ipaddress
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import ifaddr
import trio

from p2pnode.io.bridges import DEFAULT_FILES, SystemFiles, default_routes, is_virtual_bridge

logger = logging.getLogger(__name__)

POLL_INTERVAL = 2.0
"""seconds; chosen: a new network is noticed while a person waits, for 0.03 % of a core"""

MAX_READ_SHARE = 0.01
"""of the time that it may take to ask for addresses, where MAX_READ_PAUSE allows that; chosen"""

MAX_READ_PAUSE = 15.0
"""seconds; chosen: a new network is noticed before connections over the old one end for silence"""

SUSPEND_THRESHOLD = 1.0
"""seconds of sleep that are told; chosen: far above the clocks' drift between two polls"""


class InterfaceAddress(NamedTuple):
    """One IP address of one interface."""

    ip: str
    """In canonical text form, without a zone."""
    prefix_length: int
    interface: str
    scope_id: int
    """The interface's number, which its link-local IPv6 addresses need beside them."""
    has_default_route: bool = False
    """True where packets for the Internet leave through it; Linux only."""
    is_virtual_bridge: bool = False
    """True where only containers or virtual machines are behind it; Linux only."""

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.ip).is_loopback

    @property
    def is_link_local(self) -> bool:
        return ipaddress.ip_address(self.ip).is_link_local


def read_interfaces(files: SystemFiles = DEFAULT_FILES) -> tuple[InterfaceAddress, ...]:
    """Returns the addresses of all interfaces, in an order that only changes when they do.

    `files` is what Linux tells beside the addresses.  Raises OSError where the system refuses.
    """
    found: dict[InterfaceAddress, None] = {}
    routed = default_routes(files)
    for adapter in ifaddr.get_adapters():
        name = adapter.name.partition(":")[0]  # a label of an address has the name in front
        is_bridge = is_virtual_bridge(name, files, routed)
        for entry in adapter.ips:
            text, scope_id = (
                (entry.ip, 0) if isinstance(entry.ip, str) else (entry.ip[0], entry.ip[2])
            )
            try:
                ip = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:  # an interface without an address, on some systems
                continue
            scope = scope_id or adapter.index or 0
            address = InterfaceAddress(
                str(ip), entry.network_prefix, adapter.name, scope, name in routed, is_bridge
            )
            found[address] = None
    return tuple(sorted(found))


def usable_ips(interfaces: tuple[InterfaceAddress, ...]) -> tuple[str, ...]:
    """Returns the IP addresses that others can be told, loopback ones last.

    First are those of interfaces with a default route.  IPv6 link-local ones are left out, for they
    mean nothing without the interface of the other side; so are those of virtual bridges, for many
    machines have the same, and who dials one reaches himself.
    """
    return tuple(
        dict.fromkeys(
            address.ip
            for address in sorted(interfaces, key=_rank)
            if not (address.is_virtual_bridge or (address.is_link_local and ":" in address.ip))
        )
    )


def _rank(address: InterfaceAddress) -> tuple[bool, bool, bool]:
    return address.is_loopback, not address.has_default_route, ":" in address.ip


def seconds_suspended() -> float | None:
    """Returns how long the machine slept since it was booted, or None where that is not counted."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    if sys.platform == "darwin":  # there the monotonic clock counts the sleep, this one does not
        return time.clock_gettime(time.CLOCK_MONOTONIC) - time.clock_gettime(time.CLOCK_UPTIME_RAW)
    return None


async def read_interfaces_aside() -> tuple[InterfaceAddress, ...]:
    """Returns what `read_interfaces` does, in a thread.  Cancel-safe.  Raises OSError."""
    return await trio.to_thread.run_sync(read_interfaces, abandon_on_cancel=True)


async def watch_interfaces(
    on_change: Callable[[tuple[InterfaceAddress, ...]], None],
    on_resume: Callable[[float], None],
    *,
    known: tuple[InterfaceAddress, ...],
    read: Callable[[], Awaitable[tuple[InterfaceAddress, ...]]] = read_interfaces_aside,
    suspended: Callable[[], float | None] = seconds_suspended,
) -> None:
    """Calls back on every change from `known` on, and with the seconds slept; never returns.

    Cancel-safe.  A system that refuses to answer keeps the last answer.
    """
    slept_before = suspended()
    due = trio.current_time()
    while True:
        await trio.sleep(POLL_INTERVAL)
        slept = suspended()
        if slept is not None and slept_before is not None:
            if slept - slept_before >= SUSPEND_THRESHOLD:
                logger.info("the machine slept for %.0f s", slept - slept_before)
                on_resume(slept - slept_before)
            slept_before = slept
        began = trio.current_time()
        if began < due:
            continue
        try:
            interfaces = await read()
        except OSError as exc:
            logger.debug("cannot read the interfaces: %s", exc)
            continue
        now = trio.current_time()
        due = now + min((now - began) / MAX_READ_SHARE, MAX_READ_PAUSE)
        if interfaces != known:
            known = interfaces
            on_change(interfaces)
