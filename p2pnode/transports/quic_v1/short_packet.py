"""1-RTT packets in as few calls as it takes: the hot path's share of packet.py and protection.py.

What is sent has packet numbers of four bytes always: then a header has one size, and the sample is
where the sealed text begins.  What is received is addressed by an id of ours, whose size is fixed.
"""

import struct
from functools import cache
from typing import Final

from p2pnode.machine import Buffer
from p2pnode.transports.quic_v1.packet import FIXED, NUMBER_SIZE, TAG_SIZE
from p2pnode.transports.quic_v1.protection import IV_SIZE, SAMPLE_SIZE, Mask, PacketKey

CONNECTION_ID_SIZE: Final = 8
"""bytes of the connection ids that we give out; chosen: fixed, and more than can be guessed"""
SHORT: Final = FIXED | NUMBER_SIZE
"""The first byte of what is sent, to be combined with the key phase."""
NUMBER_BYTES: Final = 4
"""of the packet number of what is sent"""
_PROTECTED: Final = 0x1F
"""Bits of the first byte that the mask covers."""
_MASK: Final = struct.Struct(">BI")
_HEADER: Final = struct.Struct(f">B{CONNECTION_ID_SIZE}sI")
_SAMPLED: Final = struct.Struct(f">B{CONNECTION_ID_SIZE}sI{SAMPLE_SIZE}s")
MIN_SHORT_SIZE: Final = _SAMPLED.size
"""bytes of a packet to us that can be unmasked"""


@cache
def header_layout(id_size: int) -> struct.Struct:
    """Returns that of a packet to a peer whose ids have this size: first byte, id, number."""
    return struct.Struct(f">B{id_size}sI")


def short_overhead(id_size: int) -> int:
    """Returns how many bytes a packet to a peer has beside its frames."""
    return 1 + id_size + NUMBER_BYTES + TAG_SIZE


def seal_short(
    key: PacketKey,
    mask: Mask,
    layout: struct.Struct,
    first: int,
    destination: bytes,
    number: int,
    payload: bytes,
) -> tuple[bytes, bytes]:
    """Returns the protected header and what follows it.

    `first` is SHORT with the key phase, `layout` that of `destination`.  Any payload will do.
    """
    low = number & 0xFFFF_FFFF
    header = layout.pack(first, destination, low)
    sealed = key.seal((key.iv ^ number).to_bytes(IV_SIZE, "big"), payload, header)
    top, bits = _MASK.unpack_from(mask(sealed[:SAMPLE_SIZE]))
    return layout.pack(first ^ top & _PROTECTED, destination, low ^ bits), sealed


def unmask_short(mask: Mask, packet: Buffer, start: int) -> tuple[int, int, int, bytes]:
    """Returns (first byte, truncated packet number, its size, header) of a packet to us.

    The packet has MIN_SHORT_SIZE at least.  The header is what its payload is authenticated with,
    and tells where that begins; nothing is authenticated yet.
    """
    first, destination, number, sample = _SAMPLED.unpack_from(packet, start)
    top, bits = _MASK.unpack_from(mask(sample))
    first ^= top & _PROTECTED
    number ^= bits
    size = (first & NUMBER_SIZE) + 1
    header = _HEADER.pack(first, destination, number)[: 1 + CONNECTION_ID_SIZE + size]
    return first, number >> 32 - 8 * size, size, header


def open_short(
    key: PacketKey, packet: Buffer, start: int, end: int, header: bytes, number: int
) -> bytes:
    """Returns the payload; raises cryptography.exceptions.InvalidTag."""
    nonce = (key.iv ^ number).to_bytes(IV_SIZE, "big")
    return key.open(nonce, packet[start + len(header) : end], header)
