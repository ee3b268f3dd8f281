"""What routers do to IP packets: look at addresses, spend hops, say that a packet has died.

Pure functions over packets as a TUN device gives them, without a link header.
"""

import ipaddress
import struct

IPV4, IPV6 = 4, 6

IPV4_PREFIX_SIZE = 3
"""bytes; every site has a /24"""

IPV6_PREFIX_SIZE = 6
"""bytes; every site has a /48"""

ROUTER_IP = ipaddress.ip_address("150.0.0.1").packed
ROUTER_IP6 = ipaddress.ip_address("2a00:ffff::1").packed
"""Who says that packets have died: somebody in the middle of the Internet; no site's addresses."""

_IPV4_HEADER_SIZE = 20
# bytes; RFC 791 section 3.1 (without options)

_QUOTED_SIZE = 28
"""bytes of the dead packet in an ICMP message: an IPv4 header and 64 bits (RFC 792); of an IPv6
packet, which has the longer header, its first `_QUOTED_SIZE6` bytes"""
_QUOTED_SIZE6 = 48

_TTL, _TTL6 = 8, 7
_SOURCE, _SOURCE6 = 12, 8
_DESTINATION, _DESTINATION6 = 16, 24
_CHECKSUM = 10
# offsets

_ICMP, _ICMPV6 = 1, 58
_TIME_EXCEEDED, _TIME_EXCEEDED6 = 11, 3
# RFC 792, RFC 4443 section 3.3
_FRESH_TTL = 64


def prefix_key(prefix: str) -> bytes:
    """Returns how `source_key` and `destination_key` call a /24 or a /48."""
    network = ipaddress.ip_network(prefix)
    size = IPV4_PREFIX_SIZE if network.version == IPV4 else IPV6_PREFIX_SIZE
    return network.network_address.packed[:size]


def source_key(packet: bytes) -> bytes:
    """Returns the prefix from which a packet comes; empty for what is no IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == IPV4:
        return packet[_SOURCE : _SOURCE + IPV4_PREFIX_SIZE]
    return packet[_SOURCE6 : _SOURCE6 + IPV6_PREFIX_SIZE] if version == IPV6 else b""


def destination_key(packet: bytes) -> bytes:
    """Returns the prefix to which a packet goes; empty for what is no IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == IPV4:
        return packet[_DESTINATION : _DESTINATION + IPV4_PREFIX_SIZE]
    return packet[_DESTINATION6 : _DESTINATION6 + IPV6_PREFIX_SIZE] if version == IPV6 else b""


def spend_hops(packet: bytes, hops: int) -> bytearray | None:
    """Returns an IP packet as it is after so many routers, or None where it died on the way."""
    changed = bytearray(packet)
    if packet[0] >> 4 == IPV6:
        changed[_TTL6] = max(packet[_TTL6] - hops, 0)
        return changed if changed[_TTL6] > 0 else None
    ttl = packet[_TTL] - hops
    if ttl <= 0:
        return None
    changed[_TTL] = ttl
    # RFC 1624: the TTL is the upper half of its word, and the checksum grows as the word shrinks.
    checksum = (packet[_CHECKSUM] << 8 | packet[_CHECKSUM + 1]) + (hops << 8)
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    changed[_CHECKSUM], changed[_CHECKSUM + 1] = checksum >> 8, checksum & 0xFF
    return changed


def time_exceeded(packet: bytes) -> bytes | None:
    """Returns what the router where an IP packet died tells its sender; None where it must not."""
    if packet[0] >> 4 == IPV6:
        return _time_exceeded6(packet)
    if packet[9] == _ICMP:
        return None  # RFC 1122 section 3.2.2: not about an error message; about pings nobody asks
    body = _message(_TIME_EXCEEDED, packet[:_QUOTED_SIZE], b"")
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        _IPV4_HEADER_SIZE + len(body),
        0,
        0,
        _FRESH_TTL,
        _ICMP,
        0,
        ROUTER_IP,
        packet[_SOURCE : _SOURCE + 4],
    )
    checksum = internet_checksum(header).to_bytes(2, "big")
    return header[:_CHECKSUM] + checksum + header[_CHECKSUM + 2 :] + body


def _time_exceeded6(packet: bytes) -> bytes | None:
    if packet[6] == _ICMPV6:
        return None
    addresses = ROUTER_IP6 + packet[_SOURCE6 : _SOURCE6 + 16]
    quoted = packet[:_QUOTED_SIZE6]
    pseudo_header = addresses + struct.pack("!II", 8 + len(quoted), _ICMPV6)
    body = _message(_TIME_EXCEEDED6, quoted, pseudo_header)
    return struct.pack("!IHBB", IPV6 << 28, len(body), _ICMPV6, _FRESH_TTL) + addresses + body


def _message(kind: int, quoted: bytes, pseudo_header: bytes) -> bytes:
    """Returns an ICMP message that quotes a packet (RFC 792, RFC 4443)."""
    start = struct.pack("!BBHI", kind, 0, 0, 0)
    checksum = internet_checksum(pseudo_header + start + quoted)
    return struct.pack("!BBHI", kind, 0, checksum, 0) + quoted


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
