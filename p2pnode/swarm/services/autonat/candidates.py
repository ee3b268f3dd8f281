"""Which addresses this node might have: those to ask AutoNAT about, best first.

Candidates are the public addresses of the interfaces, and where peers see the listening sockets,
from the first peer on.  Rules: of a socket, IP version and transport two observed addresses at
most, because a NAT with endpoint-dependent mapping shows each peer another one; a candidate that
nobody sees any more stays for a while, as connections come and go, unless others have taken its
place.
"""

from typing import Final, TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.wire.ip_ranges import IpScope, ip_scope, is_nat64
from p2pnode.wire.multiaddr import Multiaddr

MAX_OBSERVED_PER_SOCKET: Final = 2
"""of each IP version and transport; chosen: the one that most see, and one that may be newer"""
MAX_CANDIDATES: Final = 8
"""chosen: two sockets of both IP versions; an ask costs peers something"""
CANDIDATE_GRACE: Final = 60.0
"""seconds that a candidate outlives its last observer; chosen: a peer reconnects within it"""

_Slot: TypeAlias = tuple[SocketId, bool, int]
"""The socket, whether the address is IPv6, and which of the transports that share the socket."""


class CandidateBook:
    """Remembers what was seen last when.  `update` is its only input."""

    def __init__(self) -> None:
        self._last_seen: dict[Multiaddr, tuple[_Slot, Instant]] = {}
        self._live: dict[Multiaddr, None] = {}

    def update(self, facts: ServiceFacts, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns the candidates as the facts have them now."""
        fixed = [
            address
            for addr in facts.interface_addresses()
            if is_candidate(addr)
            for address in facts.multiaddrs(addr)
        ]
        observed = self._observed(facts, set(fixed), now)
        self._last_seen = {a: seen for a, seen in self._last_seen.items() if a in observed}
        return tuple(dict.fromkeys([*fixed, *observed]))[:MAX_CANDIDATES]

    def clear(self) -> None:
        """The network is another one: nothing that was seen counts."""
        self._last_seen.clear()
        self._live.clear()

    def poll_timeout(self) -> Deadline | None:
        """Returns when a candidate goes that nobody sees any more."""
        gone = [at for address, (_, at) in self._last_seen.items() if address not in self._live]
        return Deadline(min(gone) + CANDIDATE_GRACE, "address candidate goes") if gone else None

    def _observed(
        self, facts: ServiceFacts, fixed: set[Multiaddr], now: Instant
    ) -> list[Multiaddr]:
        slots: dict[_Slot, list[Multiaddr]] = {}
        self._live.clear()
        listening = facts.socket_addresses()
        for socket, addr, _ in facts.seen_at(now):
            if socket in listening and is_candidate(addr):
                for index, address in enumerate(facts.multiaddrs(addr)):
                    slots.setdefault((socket, addr.is_ipv6, index), []).append(address)
        for addresses in slots.values():
            # The best one first; of the others who is known already, so that it does not flap.
            addresses[1:] = sorted(addresses[1:], key=lambda a: a not in self._last_seen)
        for slot, addresses in slots.items():
            for address in addresses[:MAX_OBSERVED_PER_SOCKET]:
                self._last_seen[address] = slot, now
                self._live[address] = None
        for address, (slot, at) in self._last_seen.items():
            of_slot = slots.setdefault(slot, [])
            if address not in of_slot and now < at + CANDIDATE_GRACE:
                of_slot.append(address)
        chosen = [a for addresses in slots.values() for a in addresses[:MAX_OBSERVED_PER_SOCKET]]
        return [address for address in chosen if address not in fixed]


def is_candidate(addr: SocketAddr) -> bool:
    """True for an address that strangers might reach."""
    return ip_scope(addr.ip) is IpScope.PUBLIC and not is_nat64(addr.ip)
