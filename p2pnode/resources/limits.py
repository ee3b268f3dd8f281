"""How much of this node others may hold: one frozen value (specs/resources.md, Limits).

Rules: amounts are slots, or bytes of memory; networks that are this machine's own have generous
shares, and a part of the connections is kept for dials of our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from p2pnode.resources.networks import Network

RESERVED_PART: Final = 8
"""One connection, reservation and circuit in so many is for whom strangers must not keep out;
chosen"""
OWN_PART: Final = 2
"""One place in so many of the reserve of connections is for dials of our own only, since anybody
may come to be protected by a reservation; chosen"""
LOCAL_FACTOR: Final = 8
"""How many times a stranger's share a network has that is this machine's own; chosen"""
MEMORY_PART: Final = 8
"""One byte in so many of the machine's may hold what others send; go-libp2p's autoscaling"""
MIN_MEMORY: Final = 32 << 20
"""bytes that others may fill on the smallest machine; chosen: two windows grown to the full"""
BYTES_A_CONNECTION: Final = 512 << 10
"""bytes of the machine's for each connection that it takes; chosen: 4096 with 2 GiB"""
MIN_CONNECTIONS: Final = 256
"""on the smallest machine; chosen"""
LOW_WATER: Final = 5
"""eighths of all connections that trimming leaves; chosen: an eighth is closed at a time"""
HIGH_WATER: Final = 6
"""eighths of all connections beyond which they are trimmed; chosen: before strangers are refused"""
STREAMS_A_CONNECTION: Final = 8
"""inbound streams for each connection that the node takes; chosen: 32,768 with 4096"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How much of one resource all, one network and one peer may hold."""

    total: int
    network: int
    """Of an IPv4 address or an IPv6 /64."""
    net56: int
    """Of an IPv6 /56, a household."""
    net48: int
    """Of an IPv6 /48, a site."""
    peer: int

    def of_network(self, network: Network, *, is_local: bool = False) -> int:
        """Returns the share of a network of any size."""
        share = {56: self.net56, 48: self.net48}.get(network.bits, self.network)
        return share * LOCAL_FACTOR if is_local else share

    def within(self, total: int) -> "Shares":
        """Returns these shares, or in their proportions those of a smaller total."""
        if total >= self.total:
            return self
        parts = {f.name: max(1, getattr(self, f.name) * total // self.total) for f in fields(self)}
        return Shares(**parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """The defaults are those of a machine with 2 GiB of memory and more."""

    connections: Shares = Shares(total=4096, network=256, net56=512, net48=1024, peer=16)
    """That others begin, but for the total; chosen: a large NAT's share, twice, four times of it;
    some 200 MB in all.  Sixteen of a peer: go-libp2p has 8, of which half may be on their way
    out."""
    half_open: Shares = Shares(total=1024, network=128, net56=256, net48=512, peer=1024)
    """Handshakes of strangers; chosen: 4 MB.  Who they are is not known before they are over."""
    streams: Shares = Shares(total=32_768, network=4096, net56=8192, net48=16_384, peer=1024)
    """That others open; chosen: four connections' worth for a peer, sixteen for a network."""
    memory: Shares = Shares(
        total=256 << 20, network=64 << 20, net56=96 << 20, net48=128 << 20, peer=64 << 20
    )
    """Bytes of streams that wait here, received or to be sent; chosen: a quarter for a network."""
    low_water: int = 2560
    """Connections that trimming leaves; chosen: five eighths of all."""
    high_water: int = 3072
    """Connections beyond which some are closed that are good for nothing; chosen: three quarters
    of all."""
    grace_period: float = 60.0
    """Seconds for which a new connection is not trimmed; go-libp2p's default."""

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be kept to."""
        for name in SHARED:
            shares: Shares = getattr(self, name)
            for part in fields(Shares):
                if getattr(shares, part.name) < 1:
                    raise ValueError(f"{name}: at least 1 is needed")
        if not 0 <= self.low_water <= self.high_water:
            raise ValueError("low_water: more than high_water")
        if self.grace_period < 0:
            raise ValueError("grace_period: less than no time")

    def changed(self, values: Mapping[str, int]) -> "ResourceLimits":
        """Returns these limits with some others, by names such as streams or streams.peer.

        Waters follow the connections where they are not given.
        Raises ValueError for a name that there is not, or a value that cannot be.
        """
        limits = self
        for name, value in values.items():
            kind, _, part = name.partition(".")
            if kind in SHARED and (part or "total") in _PARTS:
                shares = replace(getattr(limits, kind), **{part or "total": value})
                limits = replace(limits, **{kind: shares})
            elif name not in _WATERS:
                raise ValueError(f"there is no limit {name!r}")
        if "connections" in values:
            limits = limits.with_connections(limits.connections.total)
        return replace(
            limits,
            low_water=values.get("low_water", limits.low_water),
            high_water=values.get("high_water", limits.high_water),
        )

    def with_connections(self, total: int) -> "ResourceLimits":
        """Returns these limits with so many connections in all."""
        return replace(
            self,
            connections=replace(self.connections, total=total),
            low_water=total * LOW_WATER // 8,
            high_water=total * HIGH_WATER // 8,
        )


SHARED: Final = ("connections", "half_open", "streams", "memory")
"""The fields of ResourceLimits that are shared out."""
_WATERS: Final = ("low_water", "high_water")
_PARTS: Final = tuple(part.name for part in fields(Shares))


def limits_for(memory: int) -> ResourceLimits:
    """Returns the defaults of a machine with so many bytes of memory (RESOURCES-2)."""
    limits = ResourceLimits()
    places = max(MIN_CONNECTIONS, memory // BYTES_A_CONNECTION)
    connections = limits.connections.within(places)
    return replace(
        limits,
        connections=replace(connections, peer=limits.connections.peer),
        streams=limits.streams.within(STREAMS_A_CONNECTION * connections.total),
        memory=limits.memory.within(max(MIN_MEMORY, memory // MEMORY_PART)),
    ).with_connections(connections.total)
