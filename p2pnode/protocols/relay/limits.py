"""What a relay gives: one frozen value, with a modest and a generous preset (specs/relay.md).

Rules: every bound is a field with its unit; rates are bytes a second in each direction; a rate,
duration or volume of 0 is no limit.
"""

import ipaddress
from dataclasses import dataclass, field

from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.relay.circuit_messages import DatagramLimit
from p2pnode.protocols.relay.messages import Limit
from p2pnode.resources.limits import Shares
from p2pnode.wire.ip_ranges import parse_ip

SITE_FACTOR = 2  # shares of a household that an IPv6 /48 has; chosen
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """The defaults are the modest ones: what any node can spare without its owner noticing."""

    reservation_ttl: float = 3600.0
    """Seconds; go- and rust-libp2p."""
    max_reservations: int = 128
    """go- and rust-libp2p."""
    max_reservations_per_ip: int = 8
    """One IPv4 address or IPv6 /56; go-libp2p.  A peer has one, on its newest connection."""
    max_circuits: int = 64
    """All circuits, of streams and datagrams; chosen: half the reservations in use at once."""
    max_circuits_per_peer: int = 16
    """At either end; go-libp2p."""
    max_circuits_per_pair: int = 4
    """Between the same two peers; chosen: one in use, its successor, and both sides asking."""
    max_circuits_per_ip: int = 16
    """Asked for from one IPv4 address or IPv6 /56; chosen: as many as one peer has."""
    requests_per_peer: int = 30
    """In RATE_WINDOW; rust-libp2p."""
    requests_per_ip: int = 120
    """In RATE_WINDOW; rust-libp2p has 60 a minute."""
    circuit_rate: int = 512 * 1024
    """Bytes a second of one datagram circuit; chosen: four megabits, a good video call."""
    peer_rate: int = _MIB
    """Bytes a second of all circuits from one peer, and of all to it; chosen."""
    total_rate: int = 4 * _MIB
    """Bytes a second out of this relay; chosen: below a usual home line's upstream."""
    circuit_duration: int = 0
    """Seconds of a datagram circuit: they are limited in rate, not cut."""
    circuit_data: int = 0
    """Bytes of a datagram circuit in each direction."""
    stream_duration: int = 120
    """Seconds of a stream circuit; go-, rust- and js-libp2p."""
    stream_data: int = 128 * 1024
    """Bytes of a stream circuit in each direction; go, rust and js-libp2p."""
    monthly_bytes: int = 100 * 1024 * _MIB
    """Forwarded in a calendar month (UTC); chosen: a tenth of usual plans."""
    peer_monthly_bytes: int = 10 * 1024 * _MIB
    """Forwarded from and to one peer in a calendar month; chosen: a tenth of all."""

    @property
    def reservation_shares(self) -> Shares:
        """What networks and peers may have of the reservations."""
        each = self.max_reservations_per_ip
        return _shares(self.max_reservations, each, peer=1)

    @property
    def circuit_shares(self) -> Shares:
        """What networks and peers may have of the circuits."""
        return _shares(self.max_circuits, self.max_circuits_per_ip, peer=self.max_circuits_per_peer)

    @property
    def datagram_limit(self) -> DatagramLimit:
        """What is announced for a datagram circuit."""
        rates = [rate for rate in (self.circuit_rate, self.peer_rate, self.total_rate) if rate]
        return DatagramLimit(min(rates, default=0), self.circuit_duration, self.circuit_data)

    @property
    def stream_limit(self) -> Limit:
        """What is announced for a stream circuit."""
        return Limit(self.stream_duration, self.stream_data)


def _shares(total: int, each: int, *, peer: int) -> Shares:
    return Shares(total=total, network=each, net56=each, net48=SITE_FACTOR * each, peer=peer)


MODEST = RelayLimits()
GENEROUS = RelayLimits(
    max_reservations=1024,
    max_reservations_per_ip=32,
    max_circuits=1024,
    max_circuits_per_peer=64,
    max_circuits_per_ip=64,
    circuit_rate=8 * _MIB,
    peer_rate=16 * _MIB,
    total_rate=64 * _MIB,
    stream_duration=3600,
    stream_data=64 * _MIB,
    monthly_bytes=0,
    peer_monthly_bytes=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessList:
    """Which peers may use the relay.  A denied peer or network is refused, whatever is allowed.

    Networks are in CIDR notation; what is not one raises ValueError at construction.
    """

    allow_peers: frozenset[PeerId] = frozenset()
    """Where this or `allow_networks` is not empty, nobody else is served."""
    deny_peers: frozenset[PeerId] = frozenset()
    allow_networks: tuple[str, ...] = ()
    deny_networks: tuple[str, ...] = ()
    _allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = field(init=False)
    _deny: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allow", tuple(map(ipaddress.ip_network, self.allow_networks)))
        object.__setattr__(self, "_deny", tuple(map(ipaddress.ip_network, self.deny_networks)))

    def is_allowed(self, peer: PeerId, ip: str) -> bool:
        """Returns whether the peer may reserve, ask for circuits, and be reached by them."""
        address = parse_ip(ip)
        if peer in self.deny_peers or any(address in network for network in self._deny):
            return False
        if not self.allow_peers and not self._allow:
            return True
        return peer in self.allow_peers or any(address in network for network in self._allow)
