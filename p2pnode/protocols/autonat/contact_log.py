"""Which IP addresses this node has exchanged packets with lately, so: who is no stranger.

A NAT or firewall lets in who was written to, for as long as its filter remembers.  Rule: when in
doubt an address counts as contacted, because a probe by an acquaintance that is taken for a
stranger's turns an unreachable node into a reachable one.
"""

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant

CONTACT_MEMORY = 15 * 60.0  # seconds; chosen: RFC 4787 asks 2 to 5 minutes, few keep UDP longer
CONTACT_RESOLUTION = 1.0  # seconds; chosen: asked after every packet, it may be that much behind
MAX_CONTACTS = 4096  # addresses; chosen: the traffic of a busy relay in that time


class ContactLog:
    """Remembers IP addresses in canonical text, each for CONTACT_MEMORY after its last packet."""

    def __init__(self) -> None:
        self._last = Bounded[str, Instant](MAX_CONTACTS)
        self._forgot_at: Instant = float("-inf")

    def note(self, ip: str, now: Instant) -> None:
        """A packet went to `ip`, whatever it was: a dial, a punch, an answer.

        But for a helper's probe: nobody answers it, and its socket is used for nothing else.
        """
        at = self._last.get(ip)
        if at is not None and now < at + CONTACT_RESOLUTION:
            return
        forgotten = self._last.put(ip, now)
        if forgotten is not None and forgotten[1] > now - CONTACT_MEMORY:
            self._forgot_at = now

    def heard(self, ip: str, now: Instant) -> None:
        """A packet came from `ip`: where it was a contact it still is, for a filter may be renewed.

        Of others nothing is kept: whoever comes by itself is a stranger.
        """
        at = self._last.get(ip)
        if at is not None and now < at + CONTACT_MEMORY:
            self.note(ip, now)

    def has_contacted(self, ip: str, now: Instant) -> bool:
        """True for who is no stranger, and for all while the log has forgotten too early."""
        if now < self._forgot_at + CONTACT_MEMORY:
            return True
        at = self._last.get(ip)
        return at is not None and now < at + CONTACT_MEMORY
