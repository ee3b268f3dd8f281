"""How much a peer can make us send to addresses that have proved nothing (specs/dcutr.md).

Rule: each probe is paid three times before it leaves: by the peer that asked, by the address that
gets it, and by the node; what one of them cannot pay is not sent.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.protocols.dcutr.plan import (
    MAX_PROBES_PER_ADDR,
    MAX_PUNCH_ADDRS,
    PROBES_PER_ROUND,
    PunchPlan,
)
from p2pnode.rate_limit import SharedRateLimit
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


class PunchBudget:
    """The budgets of one node."""

    def __init__(self) -> None:
        self._packets = SharedRateLimit(
            WINDOW, per_peer=PEER_PACKETS, per_network=TARGET_PACKETS, total=TOTAL_PACKETS
        )

    def allow(self, peer: PeerId, plan: PunchPlan, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns the plan's addresses that may be punched, best ones first, and charges them."""
        cost = min(len(plan.probes), PROBES_PER_ROUND)
        return tuple(
            addr
            for addr in plan.addrs
            if (target := _target_of(addr)) is not None
            and self._packets.take(peer, target, now, cost)
        )


def _target_of(addr: Multiaddr) -> str | None:
    parts = transport_addr(addr)
    if parts is None or not parts.is_ip:
        return None
    return owner_group(parts.host, ipv6_prefix=64)
