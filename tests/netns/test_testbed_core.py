"""The test bed's Internet without a kernel: socket pairs for TUN devices, and time is ours."""

import importlib
import ipaddress
import pkgutil
import re
import socket
import struct
from collections.abc import Callable, Generator
from typing import NamedTuple

import pytest

import p2pnode.testbed
from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.testbed.access import AccessLink
from p2pnode.testbed.core import MAX_IN_FLIGHT, Core
from p2pnode.testbed.nat_kinds import KINDS
from p2pnode.testbed.packets import internet_checksum, spend_hops, time_exceeded
from tests.support.spec_tables import tables

HOPS = 8
A, B, C = "20.0.0.1", "21.0.0.1", "22.0.0.1"


class Device(NamedTuple):
    """The kernel's side of a site."""

    ip: str
    ours: socket.socket
    theirs: socket.socket

    def packets(self) -> list[bytes]:
        found: list[bytes] = []
        try:
            while True:
                found.append(self.ours.recv(2000))
        except BlockingIOError:
            return found


AddSite = Callable[[Core, str, AccessLink], Device]


@pytest.fixture
def add_site() -> Generator[AddSite, None, None]:
    devices: list[Device] = []

    def add(core: Core, ip: str, access: AccessLink) -> Device:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in pair:
            end.setblocking(False)
        devices.append(Device(ip, *pair))
        prefix = f"{ip.rpartition('.')[0]}.0/24"
        core.add(site=ip, file=pair[1].fileno(), prefixes=[prefix], access=access)
        return devices[-1]

    yield add
    for device in devices:
        device.ours.close()
        device.theirs.close()


def packet(source: str, target: str, *, ttl: int = 64, size: int = 100, number: int = 0) -> bytes:
    addresses = [ipaddress.ip_address(ip).packed for ip in (source, target)]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, number, 0, ttl, 17, 0, *addresses)
    checksum = internet_checksum(header).to_bytes(2, "big")
    return header[:10] + checksum + header[12:] + bytes(size - len(header))


def number_of(data: bytes) -> int:
    return int.from_bytes(data[4:6], "big")


def send(core: Core, source: Device, *packets: bytes, now: float = 0.0) -> None:
    for data in packets:
        source.ours.send(data)
        core.read(source.theirs.fileno(), now)


@pytest.mark.spec("BED-4")
def test_a_packet_arrives_when_both_lines_are_behind_it(add_site: AddSite) -> None:
    core = Core(hops=HOPS, time_exceeded=False, seed=1)
    a, b = add_site(core, A, AccessLink(delay=0.01)), add_site(core, B, AccessLink(delay=0.02))
    send(core, a, packet(A, B), now=5.0)

    assert core.next_due() == pytest.approx(5.03)
    core.deliver(5.029)
    assert b.packets() == []
    core.deliver(5.031)
    assert [data[8] for data in b.packets()] == [64 - HOPS]
    assert core.next_due() is None


@pytest.mark.spec("BED-5")
@pytest.mark.parametrize("ttl", [1, HOPS, HOPS + 1, 255])
@pytest.mark.parametrize("number", [0, 0x1234, 0xFFFF])
def test_hops_are_spent_and_the_checksum_still_holds(ttl: int, number: int) -> None:
    changed = spend_hops(packet(A, B, ttl=ttl, number=number), HOPS)

    if ttl <= HOPS:
        assert changed is None
    else:
        assert changed is not None
        assert (changed[8], internet_checksum(bytes(changed[:20]))) == (ttl - HOPS, 0)


@pytest.mark.spec("BED-5")
def test_a_notice_of_death_quotes_the_packet(add_site: AddSite) -> None:
    core = Core(hops=HOPS, time_exceeded=True, seed=1)
    a = add_site(core, A, AccessLink(delay=0.01))
    add_site(core, B, AccessLink())
    dead = packet(A, B, ttl=3)
    send(core, a, dead)
    core.deliver(0.021)
    (notice,) = a.packets()

    assert internet_checksum(notice[:20]) == internet_checksum(notice[20:]) == 0
    assert (notice[20], notice[28:]) == (11, dead[:28])


@pytest.mark.spec("BED-5")
def test_an_ipv6_packet_dies_too_and_nobody_is_told_of_a_dead_notice() -> None:
    addresses = (
        ipaddress.ip_address("2a00:1:1::1").packed,
        ipaddress.ip_address("2a00:2:1::1").packed,
    )
    udp = struct.pack("!IHBB16s16s", 6 << 28, 8, 17, 3, *addresses) + bytes(8)
    notice = time_exceeded(udp)

    assert spend_hops(udp, HOPS) is None
    assert notice is not None
    assert (notice[6], notice[24:40], notice[40]) == (58, addresses[0], 3)
    pseudo_header = notice[8:40] + struct.pack("!II", len(notice) - 40, 58)
    assert internet_checksum(pseudo_header + notice[40:]) == 0
    assert time_exceeded(notice) is None


@pytest.mark.spec("BED-14")
def test_what_has_no_route_or_a_foreign_source_is_dropped(add_site: AddSite) -> None:
    core = Core(hops=HOPS, time_exceeded=False, seed=1)
    a, b = add_site(core, A, AccessLink()), add_site(core, B, AccessLink())
    send(core, a, packet(A, C), packet("192.168.1.10", B), b"", b"\x00", packet(A, B)[:17])
    core.deliver(1.0)

    assert b.packets() == []
    assert core.traffic(site=A)[4] == {"no route": 4, "foreign source": 1}


@pytest.mark.spec("BED-15")
def test_losses_are_those_of_the_seed(add_site: AddSite) -> None:
    def arrived(seed: int) -> list[int]:
        core = Core(hops=HOPS, time_exceeded=False, seed=seed)
        a, b = add_site(core, A, AccessLink(loss=0.1)), add_site(core, B, AccessLink(loss=0.1))
        send(core, a, *(packet(A, B, number=i) for i in range(200)))
        core.deliver(1.0)
        return [number_of(data) for data in b.packets()]

    assert arrived(1) == arrived(1)
    assert arrived(1) != arrived(2)
    assert 130 < len(arrived(1)) < 190


@pytest.mark.spec("BED-15")
@pytest.mark.parametrize("slow", ["sender", "receiver"])
def test_a_line_with_a_rate_queues_and_drops_what_its_queue_cannot_hold(
    add_site: AddSite, slow: str
) -> None:
    line = AccessLink(delay=0.0, megabits=8.0, queue=10_500)
    fast = AccessLink(delay=0.0)
    core = Core(hops=HOPS, time_exceeded=False, seed=1)
    a = add_site(core, A, line if slow == "sender" else fast)
    b = add_site(core, B, line if slow == "receiver" else fast)
    send(core, a, *(packet(A, B, size=1000, number=i) for i in range(15)))

    core.deliver(0.0051)  # 8 Mbit/s are 1,000 B a millisecond
    assert [number_of(data) for data in b.packets()] == [0, 1, 2, 3, 4]
    core.deliver(1.0)
    assert [number_of(data) for data in b.packets()] == [5, 6, 7, 8, 9]
    assert core.traffic(site=A if slow == "sender" else B)[4] == {"queue": 5}


@pytest.mark.spec("BED-10")
def test_what_is_on_its_way_to_a_site_that_is_cut_off_is_lost(add_site: AddSite) -> None:
    core = Core(hops=HOPS, time_exceeded=False, seed=1)
    a, b = add_site(core, A, AccessLink()), add_site(core, B, AccessLink())
    send(core, a, packet(A, B))
    core.set_up(site=B, up=False)
    core.deliver(1.0)
    core.set_up(site=B, up=True)
    core.deliver(2.0)

    assert b.packets() == []
    assert core.traffic(site=B)[4] == {"cut": 1}


@pytest.mark.spec("BED-9")
def test_a_prefix_that_was_given_up_goes_nowhere(add_site: AddSite) -> None:
    core = Core(hops=HOPS, time_exceeded=False, seed=1)
    a, b = add_site(core, A, AccessLink()), add_site(core, B, AccessLink())
    core.set_prefixes(site=B, prefixes=["22.0.0.0/24"])
    send(core, a, packet(A, B, number=1), packet(A, C, number=2))
    core.deliver(1.0)

    assert [number_of(data) for data in b.packets()] == [2]


@pytest.mark.spec("BED-15")
def test_packets_in_flight_are_bounded(add_site: AddSite) -> None:
    core = Core(hops=HOPS, time_exceeded=False, seed=1)
    a = add_site(core, A, AccessLink())
    add_site(core, B, AccessLink())
    data = packet(A, B, size=20)
    for _ in range(MAX_IN_FLIGHT + 1):
        send(core, a, data)

    assert core.traffic(site=B)[4] == {"too many": 1}


SHORT = {
    "none": None,
    "EI": Dependence.ENDPOINT_INDEPENDENT,
    "EI, unasked too": Dependence.ENDPOINT_INDEPENDENT,
    "A": Dependence.ADDRESS_DEPENDENT,
    "AP": Dependence.ADDRESS_AND_PORT_DEPENDENT,
}


def test_the_spec_lists_the_kinds_as_they_are() -> None:
    (rows,) = tables("testbed.md", "Kinds of NAT")

    assert [row[0].strip("`") for row in rows] == list(KINDS)
    for name, routers, mapping, filtering, _ in rows:
        kind = KINDS[name.strip("`")]
        assert int(routers) == len(kind.routers)
        if kind.udp:
            assert (SHORT[mapping], SHORT[filtering]) == (kind.mapping, kind.filtering)


def test_the_spec_lists_the_limits_as_they_are() -> None:
    (rows,) = tables("testbed.md", "Limits")
    found = {
        name: value
        for info in pkgutil.iter_modules(p2pnode.testbed.__path__)
        if info.name != "forwarder"  # that one runs
        for name, value in vars(importlib.import_module(f"p2pnode.testbed.{info.name}")).items()
    }
    found |= vars(importlib.import_module("p2pnode.cli.swarm"))
    units = {"ms": 0.001, "KiB": 1024}
    assert rows
    for _, value, constants in rows:
        names = re.findall(r"`(\w+)`", constants)
        numbers = re.findall(r"([0-9][0-9.]*)(?: (ms|KiB))?", value.replace(",", ""))
        assert len(names) == len(numbers), constants
        for name, (number, unit) in zip(names, numbers, strict=True):
            assert float(number) * units.get(unit, 1) == pytest.approx(found[name]), name
