"""How much a peer can make us send to addresses that have proved nothing (specs/dcutr.md).

Rule: each probe is paid three times before it leaves: by the peer that asked, by the address that
gets it, and by the node; what one of them cannot pay is not sent.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import udp_noise_addr
from p2pnode.protocols.dcutr.plan import (
    MAX_PROBES_PER_ADDR,
    MAX_PUNCH_ADDRS,
    PROBES_PER_ROUND,
    PunchPlan,
)
from p2pnode.wire.ip_ranges import owner_group
from p2pnode.wire.multiaddr import Multiaddr

WINDOW: Final = 60.0
"""seconds in which a budget that is used up is whole again"""
PEER_PACKETS: Final = MAX_PUNCH_ADDRS * MAX_PROBES_PER_ADDR
"""in WINDOW on behalf of one peer: three full rounds"""
TARGET_PACKETS: Final = 2 * MAX_PROBES_PER_ADDR
"""in WINDOW to one IPv4 address or IPv6 /64, whoever asks: two peers behind one NAT"""
TOTAL_PACKETS: Final = 20 * PEER_PACKETS
"""in WINDOW in all: 32 packets or 3.2 kB a second"""
MAX_KEYS: Final = 4096
"""peers and targets remembered"""

KeyT = TypeVar("KeyT", bound=Hashable)


class _Budgets(Generic[KeyT]):
    """Tokens by key, refilled evenly."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left: dict[KeyT, tuple[float, Instant]] = {}

    def left(self, key: KeyT, now: Instant) -> float:
        left, at = self._left.get(key, (float(self._size), now))
        return min(float(self._size), left + (now - at) * self._size / WINDOW)

    def take(self, key: KeyT, count: int, now: Instant) -> None:
        left = self.left(key, now) - count
        self._left.pop(key, None)
        if len(self._left) >= MAX_KEYS:
            del self._left[next(iter(self._left))]  # the one untouched for longest
        self._left[key] = left, now


class PunchBudget:
    """The budgets of one node."""

    def __init__(self) -> None:
        self._by_peer = _Budgets[PeerId](PEER_PACKETS)
        self._by_target = _Budgets[str](TARGET_PACKETS)
        self._total = _Budgets[None](TOTAL_PACKETS)

    def allow(self, peer: PeerId, plan: PunchPlan, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns the plan's addresses that may be punched, best ones first, and charges them."""
        cost = min(len(plan.probes), PROBES_PER_ROUND)
        allowed: list[Multiaddr] = []
        for addr in plan.addrs:
            target = _target_of(addr)
            if target is None or self._by_target.left(target, now) < cost:
                continue
            if self._by_peer.left(peer, now) < cost or self._total.left(None, now) < cost:
                break
            self._by_target.take(target, cost, now)
            self._by_peer.take(peer, cost, now)
            self._total.take(None, cost, now)
            allowed.append(addr)
        return tuple(allowed)


def _target_of(addr: Multiaddr) -> str | None:
    parts = udp_noise_addr(addr)
    if parts is None or parts.kind not in ("ip4", "ip6"):
        return None
    return owner_group(parts.host, ipv6_prefix=64)
