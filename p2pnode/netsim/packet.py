"""What travels through the simulated network: one UDP datagram with the header fields that matter.

A packet is immutable, so that a duplicating link may deliver the same object twice.
"""

from typing import NamedTuple

from p2pnode.machine import SocketAddr

IPV4_UDP_HEADERS = 20 + 8
"""Bytes (RFC 791 without options, RFC 768)."""

IPV6_UDP_HEADERS = 40 + 8
"""Bytes (RFC 8200 without extension headers, RFC 768)."""

DEFAULT_TTL = 64
"""Hops (RFC 1700's recommended value, and what Linux and macOS send)."""

MAX_UDP_PAYLOAD = 65_507
"""Bytes: 65,535 less the IPv4 and UDP headers."""


class Packet(NamedTuple):
    """One UDP datagram in flight; never fragmented (the don't-fragment bit is always set)."""

    id: int
    """The same from the sender to the receiver, through every translation; not on the wire."""
    src: SocketAddr
    dst: SocketAddr
    ecn: int
    ttl: int
    """Time to live or hop limit that is left."""
    payload: bytes


def wire_size(packet: Packet) -> int:
    """Returns the packet's size in bytes as links and MTUs count it, IP header included."""
    headers = IPV6_UDP_HEADERS if ":" in packet.dst.ip else IPV4_UDP_HEADERS
    return headers + len(packet.payload)
