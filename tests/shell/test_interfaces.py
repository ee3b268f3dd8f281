"""The machine's addresses, their changes, and its sleep."""

import sys
import time
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from p2pnode.io.interfaces import (
    POLL_INTERVAL,
    InterfaceAddress,
    read_interfaces,
    seconds_suspended,
    usable_ips,
    watch_interfaces,
)

UPTIME_RESOLUTION = 0.02
"""seconds; /proc/uptime counts hundredths"""

LOOPBACK = InterfaceAddress("127.0.0.1", 8, "lo", 1)
LOOPBACK6 = InterfaceAddress("::1", 128, "lo", 1)
LAN = InterfaceAddress("192.168.1.7", 24, "eth0", 2)
LINK_LOCAL = InterfaceAddress("fe80::1", 64, "eth0", 2)
GLOBAL6 = InterfaceAddress("2001:db8::7", 64, "eth0", 2)
WIFI = InterfaceAddress("10.0.0.9", 24, "wlan0", 3)
ALL = (LOOPBACK, LOOPBACK6, LAN, LINK_LOCAL, GLOBAL6)


def test_the_machine_has_a_loopback_address() -> None:
    interfaces = read_interfaces()
    assert any(address.is_loopback for address in interfaces)
    assert read_interfaces() == interfaces


def test_usable_addresses_leave_out_link_local_and_end_with_loopback() -> None:
    assert usable_ips(ALL) == ("192.168.1.7", "2001:db8::7", "127.0.0.1", "::1")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/uptime is Linux's")
def test_the_time_slept_is_what_the_uptime_has_over_the_monotonic_clock() -> None:
    before = time.monotonic()
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    after = time.monotonic()

    slept = seconds_suspended()

    assert slept is not None
    assert uptime - after - UPTIME_RESOLUTION <= slept <= uptime - before + UPTIME_RESOLUTION


async def test_changes_are_told_once_at_the_next_look(autojump_clock: MockClock) -> None:
    looks = iter([ALL, ALL, (*ALL, WIFI), (*ALL, WIFI), (LOOPBACK,)])
    told: list[tuple[float, tuple[InterfaceAddress, ...]]] = []
    start = trio.current_time()
    with trio.move_on_after(5.5 * POLL_INTERVAL):
        await watch_interfaces(
            lambda now: told.append((trio.current_time() - start, now)),
            no_sleep,
            known=ALL,
            read=lambda: next(looks),
            suspended=lambda: 0.0,
        )
    assert told == [(3 * POLL_INTERVAL, (*ALL, WIFI)), (5 * POLL_INTERVAL, (LOOPBACK,))]


async def test_a_system_that_does_not_answer_changes_nothing(autojump_clock: MockClock) -> None:
    def refuse() -> tuple[InterfaceAddress, ...]:
        raise OSError("not now")

    with trio.move_on_after(5 * POLL_INTERVAL):
        await watch_interfaces(no_change, no_sleep, known=ALL, read=refuse, suspended=lambda: None)


async def test_sleep_is_told_with_its_length_and_drift_is_not(autojump_clock: MockClock) -> None:
    slept = iter([100.0, 100.001, 100.002, 3700.0, 3700.5, 3700.5])
    told: list[float] = []
    with trio.move_on_after(5.5 * POLL_INTERVAL):
        await watch_interfaces(
            no_change,
            told.append,
            known=ALL,
            read=lambda: ALL,
            suspended=lambda: next(slept),
        )
    assert told == [3700.0 - 100.002]


def no_change(interfaces: tuple[InterfaceAddress, ...]) -> None:
    raise AssertionError(f"told of a change to {interfaces}")


def no_sleep(seconds: float) -> None:
    raise AssertionError(f"told of a sleep of {seconds} s")
