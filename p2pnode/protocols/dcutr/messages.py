"""The HolePunch message of DCUtR (specs/dcutr.md, Wire format).

Rules: an address that does not parse is left out, the rest counts; at most MAX_ADDRS are kept or
sent, so that no message of ours is above the limit, and no peer's makes us work.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.wire.multiaddr import (
    Multiaddr,
    decode_multiaddr_untrusted,
    is_relayed,
    without_zone,
)
from p2pnode.wire.pb import dcutr_pb2
from p2pnode.wire.protobuf import parse_untrusted

MAX_MESSAGE_SIZE = 4096  # bytes; go-libp2p
MAX_ADDRS = 32  # read of a message, and sent; chosen: eight are punched, some are of no use
MAX_ADDRS_SIZE = 3072  # bytes of addresses in a message of ours; chosen: go reads 4 KiB


class HolePunchType(enum.IntEnum):
    CONNECT = 100
    SYNC = 300


@dataclass(frozen=True, slots=True)
class Connect:
    """Where I am seen: the first message each way."""

    addrs: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Now: sent by the initiator."""


HolePunch = Connect | Sync


def encode_hole_punch(message: HolePunch) -> bytes:
    """Returns the message without a length; relayed addresses and what is too much are left out."""
    match message:
        case Connect(addrs):
            raw_addrs: list[bytes] = []
            size = 0
            for addr in addrs:
                raw = without_zone(addr).to_bytes()
                size += len(raw)
                if len(raw_addrs) == MAX_ADDRS or size > MAX_ADDRS_SIZE:
                    break
                if not is_relayed(addr):
                    raw_addrs.append(raw)
            out = dcutr_pb2.HolePunch(type=HolePunchType.CONNECT, ObsAddrs=raw_addrs)
        case Sync():
            out = dcutr_pb2.HolePunch(type=HolePunchType.SYNC)
    return out.SerializeToString()


def decode_hole_punch_untrusted(data: bytes) -> HolePunch:
    """Raises DecodeError, also for an unknown type."""
    message = parse_untrusted(dcutr_pb2.HolePunch(), data, "a HolePunch message")
    match message.type:
        case HolePunchType.CONNECT:
            return Connect(_usable_addrs_untrusted(message.ObsAddrs))
        case HolePunchType.SYNC:
            return Sync()
        case _:
            raise DecodeError(f"a HolePunch message of the unknown type {message.type}")


def _usable_addrs_untrusted(raw_addrs: Iterable[bytes]) -> tuple[Multiaddr, ...]:
    addrs: dict[Multiaddr, None] = {}
    for raw in raw_addrs:
        if len(addrs) == MAX_ADDRS:
            break
        try:
            addr = decode_multiaddr_untrusted(raw)
        except DecodeError:
            continue
        if not is_relayed(addr):
            addrs[addr] = None
    return tuple(addrs)
