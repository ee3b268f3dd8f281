"""The test bed, in the kernel: each kind of NAT does what its name says, all of it goes away."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.testbed import KINDS, AccessLink, BedError, NatKind, TestBed, missing_rights
from p2pnode.testbed.nat_kinds import (
    DOUBLE,
    FIREWALL,
    FULL_CONE,
    LEAKY,
    NONE,
    PORT_FORWARD,
    PORT_RESTRICTED,
    SYMMETRIC,
    SYMMETRIC_DOUBLE,
    UDP_BLOCKED,
)
from tests.support.testbed_probes import (
    SILENCE,
    Address,
    Probe,
    Stranger,
    filtering,
    gets_in_unasked,
    mapping,
    processes_inside,
    round_trip,
    stranger,
)

pytestmark = [pytest.mark.netns, pytest.mark.slow]

FAST = AccessLink(delay=0.001)
"""so that waiting for what does not come is short"""

END_TIMEOUT = 10.0
"""seconds for processes to end"""


@pytest.fixture(scope="module")
def rights() -> None:
    reason = missing_rights()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def bed(rights: None) -> Generator[TestBed, None, None]:
    with TestBed() as bed:
        yield bed


@pytest.fixture
def near(bed: TestBed) -> Generator[Stranger, None, None]:
    with stranger(bed.add_site("near", access=FAST)) as near:
        yield near


@pytest.fixture
def far(bed: TestBed) -> Generator[Stranger, None, None]:
    with stranger(bed.add_site("far", access=FAST)) as far:
        yield far


@pytest.mark.spec("BED-1")
@pytest.mark.parametrize("kind", [k for k in KINDS.values() if k.udp], ids=lambda k: k.name)
def test_each_kind_is_what_it_says(
    bed: TestBed, near: Stranger, far: Stranger, kind: NatKind
) -> None:
    site = bed.add_site("site", kind, access=FAST)

    assert mapping(site, near, far) is kind.mapping
    expected = Dependence.ENDPOINT_INDEPENDENT if kind.filtering is None else kind.filtering
    assert filtering(site, near, far) is expected
    assert gets_in_unasked(site, far) == (kind in (NONE, PORT_FORWARD))


@pytest.mark.spec("BED-1")
def test_where_udp_is_blocked_only_tcp_gets_out(bed: TestBed, near: Stranger) -> None:
    site = bed.add_site("site", UDP_BLOCKED, access=FAST)
    with Probe(site) as inside:
        inside.send(near.address(near.first))
        assert near.first.texts() == set()

    with near.site.host.socket(kind=socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        with site.host.socket(kind=socket.SOCK_STREAM) as connection:
            connection.settimeout(END_TIMEOUT)
            connection.connect((near.site.public_ip, listener.getsockname()[1]))


@pytest.mark.spec("BED-2")
@pytest.mark.parametrize(("kind", "is_spoilt"), [(LEAKY, True), (PORT_RESTRICTED, False)])
def test_an_early_stranger_spoils_the_port_of_a_leaky_router_only(
    bed: TestBed, near: Stranger, kind: NatKind, is_spoilt: bool
) -> None:
    site = bed.add_site("site", kind, access=FAST)
    with Probe(site) as inside:
        near.first.send((site.public_ip, inside.port), "too early")
        assert inside.texts() == set()
        inside.send(near.address(near.first))
        _, (_, port) = near.first.receive()

        assert (port != inside.port) == is_spoilt


@pytest.mark.spec("BED-3")
def test_hosts_of_one_site_share_a_lan_and_an_address(bed: TestBed, near: Stranger) -> None:
    site = bed.add_site("site", PORT_RESTRICTED, hosts=2, access=FAST)
    with Probe(site, 4001) as one, Probe(site, 4001, host=1) as other:
        one.send(near.address(near.first), "one")
        other.send(near.address(near.first), "other")
        seen = dict(near.first.receive() for _ in range(2))
        one.send((site.host_ips[1], 4001), "neighbour")

        assert {ip for ip, _ in seen.values()} == {site.public_ip}
        assert seen["one"] != seen["other"]
        assert other.receive() == ("neighbour", (site.host_ips[0], 4001))


@pytest.mark.spec("BED-3")
def test_no_two_sites_have_a_network_in_common(bed: TestBed) -> None:
    ips = [bed.add_site(f"s{i}").public_ip for i in range(3)]

    assert len({ip.rsplit(".", 2)[0] for ip in ips}) == 3
    with pytest.raises(BedError, match="there is a site s0 already"):
        bed.add_site("s0")


@pytest.mark.spec("BED-4")
@pytest.mark.parametrize("kind", [NONE, DOUBLE], ids=lambda k: k.name)
def test_a_round_trip_takes_50_ms(bed: TestBed, kind: NatKind) -> None:
    site, public = bed.add_site("site", kind), bed.add_site("public")
    with Probe(site) as inside, Probe(public) as echo:
        times = [round_trip(inside, (public.public_ip, echo.port), echo) for _ in range(5)]
        bed.set_delay(site, public, 0.002)
        short = min(round_trip(inside, (public.public_ip, echo.port), echo) for _ in range(5))

    assert 0.050 <= min(times) < 0.060
    assert 0.004 <= short < 0.014


@pytest.mark.spec("BED-5")
def test_a_packet_with_a_low_ttl_opens_the_nat_and_dies_on_the_way(
    bed: TestBed, near: Stranger
) -> None:
    site = bed.add_site("site", PORT_RESTRICTED, access=FAST)
    with Probe(site) as inside:
        inside.send(near.address(near.first), ttl=5)
        assert near.first.texts() == set()
        near.first.send((site.public_ip, inside.port), "answer")

        assert inside.receive()[0] == "answer"
    assert site.traffic().dropped["ttl"] == 1


@pytest.mark.spec("BED-5")
def test_the_internet_can_say_that_a_packet_has_died(rights: None) -> None:
    with TestBed(time_exceeded=True) as bed:
        site, near = bed.add_site("site", PORT_RESTRICTED, access=FAST), bed.add_site("near")
        with site.host.entered():
            errors = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with errors, Probe(site) as inside:
            errors.settimeout(END_TIMEOUT)
            inside.send((near.public_ip, 9), ttl=5)
            packet = errors.recv(2000)
            # Through the NAT it came only because the kernel found the connection in it.
            quoted_port = int.from_bytes(packet[20 + 8 + 20 :][:2], "big")

            assert (packet[20], quoted_port) == (11, inside.port)


@pytest.mark.spec("BED-6")
@pytest.mark.parametrize("kind", [NONE, FULL_CONE, DOUBLE, FIREWALL], ids=lambda k: k.name)
def test_ipv6_is_filtered_but_not_translated(bed: TestBed, kind: NatKind) -> None:
    site = bed.add_site("site", kind, access=FAST, ipv6=True)
    public = bed.add_site("public", access=FAST, ipv6=True)
    assert site.public_ip6 is not None
    assert public.public_ip6 is not None
    with Probe(site, ipv6=True) as inside, Probe(public, ipv6=True) as outside:
        outside.send((site.public_ip6, inside.port), "unasked")
        unasked = inside.texts()
        inside.send((public.public_ip6, outside.port))
        _, source = outside.receive()
        outside.send(source, "answer")

        assert unasked == ({"unasked"} if kind is NONE else set())
        assert source == (site.public_ip6, inside.port)
        assert inside.receive()[0] == "answer"


@pytest.mark.spec("BED-7")
@pytest.mark.parametrize("kind", [PORT_RESTRICTED, FULL_CONE, DOUBLE], ids=lambda k: k.name)
def test_a_reboot_forgets_the_mappings(bed: TestBed, near: Stranger, kind: NatKind) -> None:
    site = bed.add_site("site", kind, access=FAST)
    with Probe(site) as inside:
        inside.send(near.address(near.first))
        _, external = near.first.receive()
        near.first.send(external, "before")
        before, _ = inside.receive()
        site.reboot_nat()
        near.first.send(external, "after")
        after = inside.texts()
        inside.send(near.address(near.first))
        kept = near.first.receive()[1]
        site.reboot_nat(range(50000, 50010))
        inside.send(near.address(near.first))
        _, (_, moved) = near.first.receive()

    assert (before, after) == ("before", set())
    assert kept == external
    assert moved in range(50000, 50010)


@pytest.mark.spec("BED-7")
@pytest.mark.parametrize("kind", [SYMMETRIC, SYMMETRIC_DOUBLE], ids=lambda k: k.name)
def test_symmetric_routers_give_another_port_after_a_reboot(
    bed: TestBed, near: Stranger, kind: NatKind
) -> None:
    site = bed.add_site("site", kind, access=FAST)
    with Probe(site) as inside:
        inside.send(near.address(near.first))
        _, before = near.first.receive()
        site.reboot_nat()
        inside.send(near.address(near.first))

        assert near.first.receive()[1] != before


@pytest.mark.spec("BED-8")
def test_a_mapping_lives_as_long_as_the_site_says(bed: TestBed, near: Stranger) -> None:
    sites = [bed.add_site(k.name, k, access=FAST, lifetime=1) for k in (FULL_CONE, LEAKY)]
    with Probe(sites[0]) as one, Probe(sites[1]) as other:
        externals: list[Address] = []
        for inside in (one, other):
            inside.send(near.address(near.first))
            externals.append(near.first.receive()[1])
            near.first.send(externals[-1], "in time")
            assert inside.receive()[0] == "in time"
        time.sleep(2.1)  # the kernel counts seconds
        for external in externals:
            near.first.send(external, "too late")

        assert one.texts() | other.texts() == set()


@pytest.mark.spec("BED-9")
@pytest.mark.parametrize("kind", [NONE, FIREWALL, PORT_RESTRICTED, DOUBLE], ids=lambda k: k.name)
def test_a_site_that_changes_its_address_is_reached_at_the_new_one_only(
    bed: TestBed, near: Stranger, kind: NatKind
) -> None:
    site = bed.add_site("site", kind, access=FAST, ipv6=True)
    own, old = site.host_ips[0], site.public_ip
    with Probe(site) as inside:
        inside.send(near.address(near.first))
        near.first.receive()
        site.change_address()
        near.first.send((old, inside.port), "old")
        inside.send(near.address(near.first))
        _, external = near.first.receive()
        near.first.send(external, "new")

        assert external == (site.public_ip, inside.port)
        assert external[0] != old
        assert inside.receive()[0] == "new"
    assert (site.host_ips[0] == own) == kind.is_translated


@pytest.mark.spec("BED-10")
def test_nothing_gets_through_while_a_site_is_cut_off(bed: TestBed, near: Stranger) -> None:
    site = bed.add_site("site", FULL_CONE, access=FAST)
    with Probe(site) as inside:
        inside.send(near.address(near.first))
        _, external = near.first.receive()
        site.cut()
        inside.send(near.address(near.first))
        near.first.send(external)
        arrived = inside.texts() | near.first.texts()
        site.mend()
        near.first.send(external, "mended")

        assert arrived == set()
        assert inside.receive()[0] == "mended"


@pytest.mark.spec("BED-11")
def test_40_megabits_arrive_in_time(bed: TestBed) -> None:
    count, size = 5000, 1400
    sender, receiver = bed.add_site("sender", PORT_RESTRICTED), bed.add_site("receiver")
    delays: list[float] = []
    with Probe(sender) as inside, Probe(receiver) as outside:
        outside.socket.setblocking(False)
        target, start, sent = (receiver.public_ip, outside.port), time.monotonic(), 0
        while sent < count or time.monotonic() < start + count / 5000 + SILENCE:
            while sent < count and start + sent / 5000 <= time.monotonic():
                inside.send(target, f"{time.monotonic():<{size}.6f}")
                sent += 1
            while select.select([outside.socket], [], [], 0.0002)[0]:
                delays.append(time.monotonic() - float(outside.socket.recv(size)))

    # What this process is too late to take is not the bed's loss.
    assert receiver.traffic().received_packets == count
    assert 0.025 <= sorted(delays)[len(delays) // 2] < 0.030


def held_namespaces() -> set[str]:
    """Returns the networks of which this process has an open file."""
    files = (Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    links = {os.readlink(file) for file in files if file.is_symlink()}
    return {link for link in links if link.startswith("net:")}


@pytest.mark.spec("BED-12")
def test_nothing_is_left_after_a_failure(rights: None) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    inodes: list[int] = []

    def fail() -> None:
        with TestBed() as bed:
            site = bed.add_site("site", DOUBLE)
            inodes.extend(namespace.inode for namespace in (*site.hosts, *site.routers))
            processes.append(site.host.popen("sleep", "60"))
            assert processes_inside(inodes) == [str(processes[0].pid)]
            raise RuntimeError("amid")

    with pytest.raises(RuntimeError, match="amid"):
        fail()

    assert processes[0].wait(END_TIMEOUT) == -signal.SIGKILL
    assert processes_inside(inodes) == []
    assert held_namespaces() == set()


OWNER = """
import signal, sys
from p2pnode.testbed import KINDS, TestBed
signal.signal(signal.SIGINT, signal.default_int_handler)
with TestBed() as bed:
    site = bed.add_site("site", KINDS["port-restricted"])
    site.host.popen("sleep", "60")
    print(*[namespace.inode for namespace in (*site.hosts, *site.routers)], flush=True)
    sys.stdin.read()
"""


@pytest.mark.spec("BED-12")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_nothing_is_left_when_its_owner_is_killed(rights: None, number: signal.Signals) -> None:
    command, quiet = [sys.executable, "-c", OWNER], subprocess.DEVNULL
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet) as owner:
        assert owner.stdout is not None
        inodes = [int(number) for number in owner.stdout.readline().split()]
        assert len(processes_inside(inodes)) == 1
        owner.send_signal(number)
        owner.wait(END_TIMEOUT)
    end = time.monotonic() + END_TIMEOUT
    while processes_inside(inodes) and time.monotonic() < end:
        time.sleep(SILENCE)

    assert processes_inside(inodes) == []


ORDINARY = """
from p2pnode.testbed import KINDS, TestBed, gain_rights, missing_rights, shell_prefix
print(missing_rights())
print(gain_rights())
with TestBed() as bed:
    home, public = bed.add_site("home", KINDS["full-cone"]), bed.add_site("public")
    with home.host.socket() as inside, public.host.socket() as outside:
        outside.bind(("0.0.0.0", 9))
        outside.settimeout(5)
        inside.sendto(b"arrived", (public.public_ip, 9))
        print(outside.recv(100).decode())
    print(*shell_prefix(home.host))
"""


@pytest.mark.spec("BED-13")
def test_without_rights_a_user_namespace_gives_them(rights: None) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("dropping rights needs the program setpriv")
    drop = ("setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all")

    done = subprocess.run(
        [*drop, sys.executable, "-c", ORDINARY], capture_output=True, text=True, check=False
    )

    before, gained, *rest = done.stdout.splitlines() or [done.stderr, ""]
    if gained.startswith(before) and "user namespace cannot be made" in gained:
        pytest.skip(gained)
    assert before == "a network namespace cannot be made: Operation not permitted"
    assert gained == "None", done.stderr
    assert rest[0] == "arrived"
    assert re.fullmatch(
        r"nsenter --user=/proc/\d+/ns/user --preserve-credentials --net=/proc/\d+/fd/\d+ --",
        rest[-1],
    )
