"""A trace as a capture file that Wireshark and tcpdump read.

Classic pcap, linktype 101 (raw IP), microseconds of virtual time counted from `EPOCH`.  It holds
what `tcpdump` on the hosts would have seen: every datagram as it left and as it arrived.
"""

import ipaddress
import struct
from pathlib import Path

from p2pnode.netsim.packet import Packet
from p2pnode.netsim.trace import Kind, Trace
from p2pnode.netsim.world import EPOCH

MAGIC_MICROSECONDS = 0xA1B2C3D4
LINKTYPE_RAW = 101
SNAPLEN = 262_144
"""Bytes; nothing is cut."""

UDP = 17
DONT_FRAGMENT = 0x4000


def to_pcap(trace: Trace, where: str | None = None) -> bytes:
    """Returns the capture of one host, or of all of them merged in order of time."""
    out = [struct.pack("<IHHiIII", MAGIC_MICROSECONDS, 2, 4, 0, 0, SNAPLEN, LINKTYPE_RAW)]
    for at, kind, place, packet, _ in trace.records:
        if kind not in (Kind.SENT, Kind.DELIVERED) or where not in (None, place):
            continue
        data = ip_packet(packet)
        microseconds = round((EPOCH + at) * 1e6)
        seconds, rest = divmod(microseconds, 1_000_000)
        out += (struct.pack("<IIII", seconds, rest, len(data), len(data)), data)
    return b"".join(out)


def write_pcap(trace: Trace, path: Path, where: str | None = None) -> None:
    """Writes the capture.  Raises OSError."""
    path.write_bytes(to_pcap(trace, where))


def ip_packet(packet: Packet) -> bytes:
    """Returns the packet with the IP and UDP headers that it would have, checksums included."""
    _, src, dst, ecn, ttl, payload = packet
    source = ipaddress.ip_address(src.ip).packed
    destination = ipaddress.ip_address(dst.ip).packed
    length = 8 + len(payload)
    # The length repeats in the IPv6 pseudo header as 32 bits; its upper half is zero, so that
    # one form of the sum serves both families (RFC 768, RFC 8200 section 8.1).
    pseudo = source + destination + struct.pack("!HH", UDP, length)
    header = struct.pack("!HHHH", src.port, dst.port, length, 0)
    checksum = internet_checksum(pseudo + header + payload) or 0xFFFF
    udp = struct.pack("!HHHH", src.port, dst.port, length, checksum) + payload
    if src.is_ipv6:
        first = 6 << 28 | ecn << 20
        return struct.pack("!IHBB", first, length, UDP, ttl) + source + destination + udp
    total = 20 + length
    fields = (0x45, ecn, total, packet.id & 0xFFFF, DONT_FRAGMENT, ttl, UDP)
    bare = struct.pack("!BBHHHBBH", *fields, 0) + source + destination
    return struct.pack("!BBHHHBBH", *fields, internet_checksum(bare)) + bare[12:] + udp


def internet_checksum(data: bytes) -> int:
    """Returns the ones' complement of the ones' complement sum of 16-bit words (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
