"""Dialling a peer: its addresses raced with a head start for the better ones (RFC 8305).

The rule: the first authenticated answer wins, the others are given up; every failure is kept and
told, nothing is swallowed.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import UdpAddr
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import Multiaddr

HEAD_START: Final = 0.25
"""seconds between the starts of two addresses; RFC 8305 section 8"""
MAX_CONCURRENT: Final = 8
"""addresses of one peer under way at a time; go-libp2p"""
MAX_ADDRESSES: Final = 32
"""addresses tried in one dial; chosen: as many as the address book keeps"""


class Candidate(NamedTuple):
    """An address to try."""

    address: Multiaddr
    remote: UdpAddr


class PeerDial:
    """One dial of one peer.  It says what to start; the swarm tells it what became of that."""

    def __init__(
        self, dial_id: int, peer_id: PeerId | None, candidates: list[Candidate], now: Instant
    ) -> None:
        self.dial_id = dial_id
        self.peer_id = peer_id
        self._waiting = sorted(candidates[:MAX_ADDRESSES], key=_rank)
        self._under_way: dict[int, Candidate] = {}
        self._next_at = now
        self.attempts: list[tuple[Multiaddr, P2PNodeError]] = []

    def poll_start(self, now: Instant) -> Iterator[Candidate]:
        """Yields the addresses to start now; each must be answered by `started` or `failed`."""
        while self._waiting and now >= self._next_at and len(self._under_way) < MAX_CONCURRENT:
            self._next_at = now + HEAD_START
            yield self._waiting.pop(0)

    def started(self, handle: int, candidate: Candidate) -> None:
        self._under_way[handle] = candidate

    def failed(self, candidate: Candidate, reason: P2PNodeError, now: Instant) -> None:
        """An address did not even start, or gave up: the next one need not wait."""
        self.attempts.append((candidate.address, reason))
        self._next_at = now

    def on_failure(self, handle: int, reason: P2PNodeError, now: Instant) -> None:
        """A handshake of this dial has failed."""
        self.failed(self._under_way.pop(handle), reason, now)

    def take(self, handle: int) -> Candidate | None:
        """Returns the candidate that a handshake was for, and forgets it."""
        return self._under_way.pop(handle, None)

    @property
    def handles(self) -> tuple[int, ...]:
        """Handshakes under way."""
        return tuple(self._under_way)

    @property
    def is_over(self) -> bool:
        """True once nothing is left to try or to wait for."""
        return not self._waiting and not self._under_way

    def poll_timeout(self) -> Deadline | None:
        if not self._waiting or len(self._under_way) >= MAX_CONCURRENT:
            return None
        return Deadline(self._next_at, "next address of a dial")


def _rank(candidate: Candidate) -> tuple[int, bool]:
    """Loopback before private before public (it is nearer), IPv6 before IPv4 (fewer NATs)."""
    order = (IpScope.LOOPBACK, IpScope.PRIVATE, IpScope.PUBLIC, IpScope.UNROUTABLE)
    return order.index(ip_scope(candidate.remote.ip)), not candidate.remote.is_ipv6
