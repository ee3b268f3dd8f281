"""The machine's addresses, their changes, and its sleep."""

import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from p2pnode.io import interfaces
from p2pnode.io.bridges import MAX_ROUTES_READ, SystemFiles, default_routes, is_virtual_bridge
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
            read=answering(lambda: next(looks)),
            suspended=lambda: 0.0,
        )
    assert told == [(3 * POLL_INTERVAL, (*ALL, WIFI)), (5 * POLL_INTERVAL, (LOOPBACK,))]


async def test_a_system_that_does_not_answer_changes_nothing(autojump_clock: MockClock) -> None:
    def refuse() -> tuple[InterfaceAddress, ...]:
        raise OSError("not now")

    with trio.move_on_after(5 * POLL_INTERVAL):
        await watch_interfaces(
            no_change, no_sleep, known=ALL, read=answering(refuse), suspended=lambda: None
        )


@pytest.mark.parametrize(
    ("took", "pause"),
    [(0.001, POLL_INTERVAL), (0.05, 3 * POLL_INTERVAL), (60.0, 8 * POLL_INTERVAL)],
)
async def test_a_machine_that_answers_slowly_is_asked_less_often(
    autojump_clock: MockClock, took: float, pause: float
) -> None:
    asked: list[float] = []

    async def read() -> tuple[InterfaceAddress, ...]:
        asked.append(trio.current_time())
        await trio.sleep(took)
        return ALL

    with trio.move_on_after(10 * (took + pause)):
        await watch_interfaces(no_change, no_sleep, known=ALL, read=read, suspended=lambda: None)
    pauses = [later - at - took for at, later in pairwise(asked)]
    assert pauses == pytest.approx([pause] * len(pauses))
    assert len(pauses) >= 8


async def test_others_have_their_turns_while_a_machine_answers(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def wait() -> tuple[InterfaceAddress, ...]:
        is_asked.set()
        assert may_answer.wait(10)
        return (*ALL, WIFI)

    monkeypatch.setattr(interfaces, "read_interfaces", wait)
    changed = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                watch_interfaces,
                lambda _: changed.set(),
                no_sleep,
                known=ALL,
                suspended=lambda: None,
            )
        )
        await trio.to_thread.run_sync(is_asked.wait, 10)
        may_answer.set()
        await changed.wait()
        nursery.cancel_scope.cancel()


async def test_sleep_is_told_with_its_length_and_drift_is_not(autojump_clock: MockClock) -> None:
    slept = iter([100.0, 100.001, 100.002, 3700.0, 3700.5, 3700.5])
    told: list[float] = []
    with trio.move_on_after(5.5 * POLL_INTERVAL):
        await watch_interfaces(
            no_change,
            told.append,
            known=ALL,
            read=answering(lambda: ALL),
            suspended=lambda: next(slept),
        )
    assert told == [3700.0 - 100.002]


def answering(
    read: Callable[[], tuple[InterfaceAddress, ...]],
) -> Callable[[], Awaitable[tuple[InterfaceAddress, ...]]]:
    """Returns a way to ask that answers at once."""

    async def answer() -> tuple[InterfaceAddress, ...]:
        await trio.lowlevel.checkpoint()
        return read()

    return answer


def no_change(interfaces: tuple[InterfaceAddress, ...]) -> None:
    raise AssertionError(f"told of a change to {interfaces}")


def no_sleep(seconds: float) -> None:
    raise AssertionError(f"told of a sleep of {seconds} s")


def machine(tmp_path: Path, ports: Mapping[str, Sequence[str]], routes: str = "") -> SystemFiles:
    """Returns the files of a system with bridges, by name, and the files of each of their ports."""
    for bridge, links in ports.items():
        (tmp_path / "net" / bridge / "bridge").mkdir(parents=True)
        (tmp_path / "net" / bridge / "brif").mkdir()
        for index, link in enumerate(links):
            (tmp_path / "net" / bridge / "brif" / f"port{index}").mkdir()
            (tmp_path / "net" / f"port{index}" / link).mkdir(parents=True)
    (tmp_path / "net" / "eth0" / "device").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "route").write_text(ROUTE_HEAD + routes, encoding="ascii")
    return SystemFiles(tmp_path / "net", tmp_path / "proc")


ROUTE_HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NEARBY = "\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
HALF = "\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"


@pytest.mark.parametrize(
    ("links", "routes", "is_virtual"),
    [
        pytest.param([], "", True, id="docker0 without a container"),
        pytest.param(["tun_flags", "queues"], "", True, id="containers and virtual machines"),
        pytest.param(["queues", "device"], "", False, id="br-lan with a switch port"),
        pytest.param([], "docker0" + DEFAULT, False, id="the way to the Internet"),
        pytest.param([], "eth0" + DEFAULT + "docker0" + NEARBY, True, id="a route to its own"),
        pytest.param([], "docker0" + HALF, False, id="half of the Internet, as VPNs route"),
        pytest.param([], "nonsense\n\n", True, id="a file that cannot be understood"),
    ],
)
def test_a_bridge_of_containers_alone_is_virtual(
    tmp_path: Path, links: list[str], routes: str, is_virtual: bool
) -> None:
    files = machine(tmp_path, {"docker0": links}, routes)
    assert is_virtual_bridge("docker0", files, default_routes(files)) == is_virtual
    assert not is_virtual_bridge("eth0", files, default_routes(files))


def test_a_port_of_several_cables_is_physical(tmp_path: Path) -> None:
    files = machine(tmp_path, {"br0": ["bonding"]})
    (tmp_path / "net" / "port0" / "lower_eth0").symlink_to(tmp_path / "net" / "eth0")
    assert not is_virtual_bridge("br0", files, frozenset())


def test_ipv6_default_routes_count_too(tmp_path: Path) -> None:
    files = machine(tmp_path, {})
    zero, gate = "0" * 32, "fe80" + "0" * 27 + "1"
    (tmp_path / "proc" / "ipv6_route").write_text(
        f"{zero} 00 {zero} 00 {gate} 00000400 00000005 00000000 00000003     eth0\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        f"fe80{zero[4:]} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth1\n",
        encoding="ascii",
    )
    assert default_routes(files) == {"eth0"}


def test_of_a_million_routes_only_the_first_are_read(tmp_path: Path) -> None:
    lines = MAX_ROUTES_READ // len("eth1" + NEARBY) + 1
    files = machine(tmp_path, {}, "eth0" + DEFAULT + lines * ("eth1" + NEARBY) + "eth2" + DEFAULT)
    assert default_routes(files) == {"eth0"}


def test_where_the_system_tells_nothing_of_bridges_all_stay(tmp_path: Path) -> None:
    nothing = SystemFiles(tmp_path / "none", tmp_path / "none")
    assert default_routes(nothing) == frozenset()
    assert not is_virtual_bridge("docker0", nothing, frozenset())
    assert not is_virtual_bridge("Ethernet 2", nothing, frozenset())
    assert not is_virtual_bridge("a/b", nothing, frozenset())
    assert {a._replace(is_virtual_bridge=False) for a in read_interfaces(nothing)} == {
        a._replace(is_virtual_bridge=False, has_default_route=False) for a in read_interfaces()
    }


def test_interfaces_are_read_with_what_the_system_says_of_bridges(tmp_path: Path) -> None:
    files = machine(tmp_path, {"lo": []})  # no bridge, but every machine has one
    loopback = [a for a in read_interfaces(files) if a.is_loopback]
    assert loopback
    assert all(a.is_virtual_bridge for a in loopback)
    files = SystemFiles(files.net, tmp_path / "none")
    (tmp_path / "net" / "lo" / "brif" / "eth0").mkdir()
    assert not any(a.is_virtual_bridge for a in read_interfaces(files))


def test_sixty_bridges_of_containers_are_told_to_nobody() -> None:
    bridges = tuple(
        InterfaceAddress(ip, bits, f"br-{i}", i + 9, is_virtual_bridge=True)
        for i in range(60)
        for ip, bits in ((f"172.{16 + i % 16}.{i}.1", 24), (f"fd00:{i}::1", 64))
    )
    assert usable_ips((*bridges, *ALL)) == usable_ips(ALL)


def test_the_way_to_the_internet_comes_first() -> None:
    wifi = WIFI._replace(has_default_route=True)
    assert usable_ips((*ALL, wifi))[0] == wifi.ip
