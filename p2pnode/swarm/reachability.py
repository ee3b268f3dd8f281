"""What is known of whether strangers reach this node: kept by AutoNAT's client, read by all."""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.protocols.autonat import AddressTracker, Reachability, Verdict
from p2pnode.protocols.autonat.filtering import Filtering, filtering_of
from p2pnode.wire.multiaddr import Code, Multiaddr, components

VERDICT_WAIT: Final = 2.5
"""seconds after the first connection in which a node should not hurry to contact everybody; chosen:
the time that a verdict may take"""

_FAMILIES: Final = {False: Code.IP4, True: Code.IP6}


class OwnReachability:
    """Verdicts on this node's addresses, and who has seen it at them."""

    def __init__(self) -> None:
        self.tracker = AddressTracker()
        self.observers: dict[tuple[Multiaddr, str], None] = {}
        """(address, network) of peers that were asked about an address and saw us at it"""
        self.first_contact: Instant | None = None
        """When the first peer was connected directly."""

    def verdicts(self, now: Instant) -> tuple[tuple[Multiaddr, Verdict], ...]:
        """Returns the verdict on every address that this node might have, best ones first."""
        return self.tracker.verdicts(now)

    def overall(self, now: Instant) -> Reachability:
        """Returns what to say of the node."""
        return self.tracker.overall(now)

    def confirmed(self, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns the addresses that strangers have been seen to reach: what to advertise."""
        return self.tracker.confirmed(now)

    def filtering(self, now: Instant, *, ipv6: bool = False) -> Filtering:
        """Returns how the filter before this node behaves, as far as probes have shown it."""
        code = _FAMILIES[ipv6]
        verdicts = [(a, v) for a, v in self.verdicts(now) if components(a)[0].code == code]
        return filtering_of(verdicts, self.observers)

    def is_undecided(self, now: Instant) -> bool:
        """True while the node is young and does not know yet whether strangers reach it.

        Whoever is dialled meanwhile is no stranger any more: what can wait should.
        """
        return (
            self.first_contact is not None
            and now < self.first_contact + VERDICT_WAIT
            and self.overall(now) is Reachability.UNKNOWN
        )
