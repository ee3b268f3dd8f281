"""p2pnode/netsim/trace.py, pcap.py, mermaid.py and report.py"""

import ipaddress
import re
import struct
from pathlib import Path

import pytest

from p2pnode.machine import Ecn, SocketAddr
from p2pnode.netsim import nat_presets as presets
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.mermaid import to_mermaid
from p2pnode.netsim.packet import Packet
from p2pnode.netsim.pcap import internet_checksum, ip_packet, to_pcap
from p2pnode.netsim.report import FailureReport
from p2pnode.netsim.topology import nat_pair, wire
from p2pnode.netsim.trace import RING_SIZE, Drop, Kind, Trace
from p2pnode.netsim.world import EPOCH, World
from tests.unit.netsim.machines import echo, sender

V4 = Packet(7, SocketAddr("20.0.0.1", 1), SocketAddr("20.0.0.2", 2), Ecn.ECT_0, 64, b"hello")
V6 = Packet(8, SocketAddr("2a00::1", 1), SocketAddr("2a00::2", 2), Ecn.CE, 63, b"hell")


def test_the_ring_forgets_and_totals_and_digest_do_not() -> None:
    small, large = Trace(ring_size=3), Trace(ring_size=RING_SIZE)
    for trace in (small, large):
        for i in range(2000):
            trace.sent(i, "a", V4)
            trace.dropped(i, "link", V4, Drop.LOSS)

    assert len(small.records) == 3
    assert small.counts[Kind.SENT] == 2000
    assert small.drop_count(Drop.LOSS) == small.drop_count(Drop.LOSS, "link") == 2000
    assert small.drop_count(Drop.LOSS, "elsewhere") == 0
    assert small.digest() == large.digest() == small.digest()


@pytest.mark.parametrize(
    "other",
    [
        V4._replace(payload=b"hellp"),
        V4._replace(ecn=Ecn.CE),
        V4._replace(ttl=1),
        V4._replace(src=SocketAddr("20.0.0.1", 3)),
        V4._replace(dst=SocketAddr("20.0.0.3", 2)),
    ],
)
def test_the_digest_sees_every_field(other: Packet) -> None:
    one, two = Trace(), Trace()

    one.sent(0.0, "a", V4)
    two.sent(0.0, "a", other)

    assert one.digest() != two.digest()


def checksum_holds(source: bytes, destination: bytes, udp: bytes) -> bool:
    pseudo = source + destination + struct.pack("!II", len(udp), 17)
    return internet_checksum(pseudo + udp) == 0


@pytest.mark.spec("NETSIM-13")
@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
def test_ipv4_packets_have_valid_headers(payload: bytes) -> None:
    data = ip_packet(V4._replace(payload=payload))

    version, tos, total, number, flags, ttl, protocol = struct.unpack("!BBHHHBB", data[:10])
    ports = struct.unpack("!HHH", data[20:26])
    assert (version, tos, total, number, flags, ttl, protocol) == (
        0x45,
        Ecn.ECT_0,
        28 + len(payload),
        7,
        0x4000,
        64,
        17,
    )
    assert internet_checksum(data[:20]) == 0
    assert (data[12:16], data[16:20]) == (bytes([20, 0, 0, 1]), bytes([20, 0, 0, 2]))
    assert ports == (1, 2, 8 + len(payload))
    assert checksum_holds(data[12:16], data[16:20], data[20:])
    assert data[28:] == payload


@pytest.mark.spec("NETSIM-13")
def test_ipv6_packets_have_valid_headers() -> None:
    data = ip_packet(V6)

    first, length, following, hops = struct.unpack("!IHBB", data[:8])
    assert (first >> 28, first >> 20 & 0xFF, length, following, hops) == (6, Ecn.CE, 12, 17, 63)
    assert ipaddress.IPv6Address(data[8:24]) == ipaddress.IPv6Address("2a00::1")
    assert checksum_holds(data[8:24], data[24:40], data[40:])


def test_a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() -> None:
    # RFC 768: zero would mean that there is no checksum.
    packets = (V4._replace(payload=struct.pack("!H", word)) for word in range(0x10000))

    sums = {ip_packet(packet)[26:28] for packet in packets}

    assert b"\x00\x00" not in sums
    assert b"\xff\xff" in sums


def parse_pcap(data: bytes) -> list[tuple[float, bytes]]:
    """Reads a capture back, without the code that wrote it."""
    magic, major, minor, zone, accuracy, snaplen, linktype = struct.unpack("<IHHiIII", data[:24])
    assert (magic, major, minor, zone, accuracy, linktype) == (0xA1B2C3D4, 2, 4, 0, 0, 101)
    records, offset = list[tuple[float, bytes]](), 24
    while offset < len(data):
        seconds, micros, captured, original = struct.unpack_from("<IIII", data, offset)
        assert captured == original <= snaplen
        assert micros < 1_000_000
        offset += 16
        records.append((seconds + micros / 1e6, data[offset : offset + captured]))
        offset += captured
    assert offset == len(data)
    return records


@pytest.mark.spec("NETSIM-13")
def test_a_capture_holds_what_hosts_sent_and_received_at_virtual_times() -> None:
    net = wire(1, LinkParams(delay=0.25))
    sender(net.b, 2)
    machine, socket = sender(net.a, 1)
    net.a.call(machine.send, socket, SocketAddr("20.0.0.2", 2))
    net.world.run_for(1)

    both, only_b = to_pcap(net.world.trace), to_pcap(net.world.trace, where="b")

    assert [at - EPOCH for at, _ in parse_pcap(both)] == pytest.approx([0.0, 0.25])
    ((at, packet),) = parse_pcap(only_b)
    assert at - EPOCH == pytest.approx(0.25)
    assert packet.endswith(b"hello")


def natted() -> World:
    """Host a asks s0 who it is and gets an answer; then a stranger's packet dies at a's NAT."""
    net = nat_pair(1, presets.home(), presets.home())
    server = echo(net.public[0])
    machine, socket = sender(net.a, 4001)
    stranger, from_socket = sender(net.public[1], 7)
    net.a.call(machine.send, socket, server)
    assert net.site_a.nat is not None
    to = SocketAddr(net.site_a.nat.public_ips[0], 4001)
    net.public[1].call(stranger.send, from_socket, to, b"a;b#c\n")
    net.world.run_for(1)
    return net.world


ARROW = re.compile(r"^    (\w+)(->>|-x)(\w+): ([\d.]+) ms (\S+) to (\S+) (.*)$")


@pytest.mark.spec("NETSIM-12")
def test_a_diagram_has_an_arrow_for_each_leg_and_a_cross_for_each_drop() -> None:
    lines = to_mermaid(natted().trace).splitlines()

    arrows = [match.groups() for match in map(ARROW.match, lines) if match]
    assert lines[0] == "sequenceDiagram"
    assert {line for line in lines if "participant" in line} == {
        "    participant p_a as a",
        "    participant p_a_nat as a-nat",
        "    participant p_s0 as s0",
        "    participant p_s1 as s1",
    }
    assert [(a, arrow, b) for a, arrow, b, *_ in arrows] == [
        ("p_a", "->>", "p_a_nat"),
        ("p_a_nat", "->>", "p_s0"),
        ("p_s1", "-x", "p_a_nat"),
        ("p_s0", "->>", "p_a_nat"),
        ("p_a_nat", "->>", "p_a"),
    ]
    assert arrows[2][6] == "6 B (filtered)"


def test_a_diagram_names_payloads_as_it_is_told_and_escapes_the_names() -> None:
    text = to_mermaid(natted().trace, describe=lambda payload: payload.decode())

    assert "a#59;b#35;c?" in text


def test_a_long_diagram_keeps_the_last_legs_and_says_so() -> None:
    text = to_mermaid(natted().trace, max_arrows=2)

    assert "Note over p_a: 3 earlier legs" in text
    assert len(list(filter(ARROW.match, text.splitlines()))) == 2


def test_an_empty_trace_is_an_empty_diagram() -> None:
    assert to_mermaid(Trace()) == "sequenceDiagram\n"


@pytest.mark.spec("NETSIM-12")
def test_a_failure_names_the_seed_and_leaves_picture_and_capture(tmp_path: Path) -> None:
    world = natted()

    with (
        pytest.raises(AssertionError) as caught,
        FailureReport(world, tmp_path / "traces", name="punch a/b"),
    ):
        raise AssertionError("no luck")

    notes = "\n".join(caught.value.__notes__)
    picture, capture = sorted((tmp_path / "traces").iterdir())
    assert "seed 1" in notes
    assert "a-nat dropped 1: filtered" in notes
    assert picture.name == "punch_a_b-1.mmd"
    assert picture.read_text().startswith("sequenceDiagram")
    assert len(parse_pcap(capture.read_bytes())) == 5


def test_a_failure_without_a_folder_only_takes_notes(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught, FailureReport(World("s")) as world:
        assert world.seed != "s"

    assert "seed 's'" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(AssertionError) as caught, FailureReport(World(1), tmp_path / "file"):
        raise AssertionError("no luck")

    assert "cannot write the trace" in caught.value.__notes__[-1]


def test_success_leaves_nothing(tmp_path: Path) -> None:
    with FailureReport(World(1), tmp_path / "traces"):
        pass

    assert list(tmp_path.iterdir()) == []
