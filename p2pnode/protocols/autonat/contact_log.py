"""Which IP addresses this node has exchanged packets with lately, so: which peers are no strangers.

A NAT or firewall lets in who was written to, for as long as its filter remembers.  Rule: when in
doubt an address counts as contacted, because a probe by an acquaintance that is taken for a
stranger's turns an unreachable node into a reachable one.
"""

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant

CONTACT_MEMORY = 15 * 60.0  # seconds; chosen: RFC 4787 asks 2 to 5 minutes, few keep UDP longer
CONTACT_RESOLUTION = 1.0  # seconds; chosen: asked after every packet, it may be that much behind
ARRIVAL_MEMORY = 20.0  # seconds; chosen: a handshake and identify, and time to spare
MAX_ARRIVALS = 1024  # addresses; chosen: half-open handshakes at once
MAX_CONTACTS = 4096  # addresses; chosen: the traffic of a busy relay in that time


class ContactLog:
    """Remembers IP addresses in canonical text, each for CONTACT_MEMORY after its last packet."""

    def __init__(self, began_at: Instant = float("-inf")) -> None:
        """`began_at`: to which addresses an earlier run had written before, nobody knows."""
        self._complete_at = began_at + CONTACT_MEMORY
        self._last = Bounded[str, Instant](MAX_CONTACTS)
        self._arrivals = Bounded[str, Instant](MAX_ARRIVALS)
        """Who came by itself, and when."""
        self._forgot_at: Instant = float("-inf")

    def has_no_past(self) -> None:
        """There was no earlier run: an address that is not in the log was never written to."""
        self._complete_at = float("-inf")

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

        Of others it is kept for a short time that they came by themselves.
        """
        at = self._last.get(ip)
        if at is not None and now < at + CONTACT_MEMORY:
            self.note(ip, now)
        elif now >= self._complete_at and not self.has_contacted(ip, now):
            self._arrivals[ip] = now

    def came_by_itself(self, ip: str, now: Instant) -> bool:
        """True where a packet came from `ip` lately that no packet of ours, to it, had let in.

        Never in the first CONTACT_MEMORY of a run that may have had an earlier one: a filter still
        lets in whom that one had written to.
        """
        at = self._arrivals.get(ip)
        return at is not None and now < at + ARRIVAL_MEMORY

    def has_contacted(self, ip: str, now: Instant) -> bool:
        """True for contacted addresses, and for all while the log has forgotten too early."""
        if now < self._forgot_at + CONTACT_MEMORY:
            return True
        at = self._last.get(ip)
        return at is not None and now < at + CONTACT_MEMORY
