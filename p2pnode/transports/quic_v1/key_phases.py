"""The 1-RTT keys of a connection over its life: key updates (RFC 9001 section 6).

The rule: nobody begins an update before the peer has acknowledged a packet of the current phase,
so both ends are at most one phase apart, and one bit of the header tells which.  The peer's next
key is made ahead, so that how long a packet takes does not tell whether it begins a phase.
"""

from p2pnode.clock import Deadline, Instant
from p2pnode.transports.quic_v1.protection import (
    LIMITS,
    CipherSuite,
    PacketKey,
    header_mask,
    next_secret,
    packet_key,
)


class KeyPhases:
    """The sending and the receiving key of the current phase, the next one's and the last one's."""

    __slots__ = (
        "_discard_at",
        "_is_confirmed",
        "_limits",
        "_next_read_secret",
        "_next_write_secret",
        "_suite",
        "forgeries",
        "next_read",
        "packets",
        "phase",
        "previous_read",
        "read",
        "read_from",
        "read_mask",
        "write",
        "write_mask",
    )

    def __init__(self, suite: CipherSuite, write_secret: bytes, read_secret: bytes) -> None:
        self._suite = suite
        self._limits = LIMITS[suite]
        self.write_mask = header_mask(suite, write_secret)
        self.read_mask = header_mask(suite, read_secret)
        self.phase = 0
        """Counts from 0; its lowest bit is on the wire."""
        self.write: PacketKey = packet_key(suite, write_secret)
        self.read: PacketKey = packet_key(suite, read_secret)
        self._next_write_secret = next_secret(suite, write_secret)
        self._next_read_secret = next_secret(suite, read_secret)
        self.next_read: PacketKey = packet_key(suite, self._next_read_secret)
        self.previous_read: PacketKey | None = None
        self.read_from = 0
        """Lowest packet number that came in the current phase, 0 in the first."""
        self.packets = 0
        """Sealed in the current phase, as the sender counts them."""
        self.forgeries = 0
        """Packets that no key opened, over all phases."""
        self._discard_at: Instant | None = None
        self._is_confirmed = False

    @property
    def is_exhausted(self) -> bool:
        """True once so many packets failed to open that the connection must end."""
        return self.forgeries >= self._limits.forgeries

    @property
    def can_update(self) -> bool:
        """Whether the peer has followed into this phase, and the last one's packets are over."""
        return self._is_confirmed and self.previous_read is None

    @property
    def wants_update(self) -> bool:
        """True once the sending key has done enough, and another one may follow."""
        return self.packets >= self._limits.packets and self.can_update

    def read_key(self, bit: int, number: int) -> PacketKey | None:
        """Returns the key for a packet with this key phase bit and number.

        It is `next_read` where the packet, once authenticated, begins the next phase.  None: it
        belongs to a phase whose key is gone.
        """
        if bit == self.phase & 1:
            return self.read
        if number < self.read_from:
            return self.previous_read
        return self.next_read

    def on_acked_in_phase(self) -> None:
        """The peer acknowledged a packet that was sealed in the current phase."""
        self._is_confirmed = True

    def on_read(self, number: int) -> None:
        """A packet of the current phase was opened that is older than those before."""
        self.read_from = min(self.read_from, number)

    def advance(self, now: Instant, keep_previous: float, read_from: int) -> None:
        """Enters the next phase in both directions; the old read key stays `keep_previous` s.

        `read_from` is the packet number that the peer began it with, or the next one expected
        where we begin it.
        """
        suite = self._suite
        self.previous_read, self.read = self.read, self.next_read
        self._next_read_secret = next_secret(suite, self._next_read_secret)
        self.next_read = packet_key(suite, self._next_read_secret)
        self.write = packet_key(suite, self._next_write_secret)
        self._next_write_secret = next_secret(suite, self._next_write_secret)
        self.phase += 1
        self.packets = 0
        self.read_from = read_from
        self._is_confirmed = False
        self._discard_at = now + keep_previous

    def poll_timeout(self) -> Deadline | None:
        return None if self._discard_at is None else Deadline(self._discard_at, "old key")

    def handle_timeout(self, now: Instant) -> None:
        if self._discard_at is not None and now >= self._discard_at:
            self._discard_at = None
            self.previous_read = None
