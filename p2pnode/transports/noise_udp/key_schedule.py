"""Keys of a connection over its life: key phases for all paths together (RFC 9001 section 6).

The rule: nobody begins an update before the peer has acknowledged a packet of the current phase,
so both ends are at most one phase apart, and one bit tells which.
"""

from p2pnode.clock import Deadline, Instant
from p2pnode.transports.noise_udp.aead import LIMITS, Aead, PacketKey, next_secret, packet_key


class KeySchedule:
    """The sending and the receiving key of the current phase, the next one's and the last one's."""

    __slots__ = (
        "_aead",
        "_current_read_secret",
        "_current_write_secret",
        "_discard_at",
        "_limits",
        "_next_read",
        "_octets",
        "_packets",
        "_phase_confirmed",
        "forgeries",
        "phase",
        "previous_read",
        "read",
        "write",
    )

    def __init__(self, aead: Aead, write_secret: bytes, read_secret: bytes) -> None:
        self._aead = aead
        self._limits = LIMITS[aead]
        self._current_write_secret = write_secret
        self._current_read_secret = read_secret
        self.phase = 0
        """Counts from 0; its lowest bit is on the wire."""
        self.write: PacketKey = packet_key(write_secret, aead)
        self.read: PacketKey = packet_key(read_secret, aead)
        self._next_read: tuple[bytes, PacketKey] | None = None
        self.previous_read: PacketKey | None = None
        self._discard_at: Instant | None = None
        self._packets = 0
        self._octets = 0
        self._phase_confirmed = False
        self.forgeries = 0

    @property
    def aead(self) -> Aead:
        return self._aead

    @property
    def is_exhausted(self) -> bool:
        """True once so many packets failed to open that the connection must end."""
        return self.forgeries >= self._limits.forgeries

    @property
    def wants_update(self) -> bool:
        """True once the sending key has done enough and the peer has followed into this phase."""
        used_up = self._packets >= self._limits.packets or self._octets >= self._limits.octets
        return used_up and self._phase_confirmed and self.previous_read is None

    @property
    def can_update(self) -> bool:
        return self._phase_confirmed and self.previous_read is None

    def on_sealed(self, packets: int, octets: int) -> None:
        self._packets += packets
        self._octets += octets

    def on_acked_in_phase(self) -> None:
        """The peer acknowledged a packet that was sealed in the current phase."""
        self._phase_confirmed = True

    def next_read_key(self) -> PacketKey:
        """Returns the peer's key of the next phase, to try a packet of the other phase bit with."""
        if self._next_read is None:
            secret = next_secret(self._current_read_secret)
            self._next_read = secret, packet_key(secret, self._aead)
        return self._next_read[1]

    def advance(self, now: Instant, keep_previous: float) -> None:
        """Enters the next phase in both directions; the old read key stays `keep_previous` s."""
        self.previous_read = self.read
        self.read = self.next_read_key()
        assert self._next_read is not None
        self._current_read_secret = self._next_read[0]
        self._next_read = None
        self._current_write_secret = next_secret(self._current_write_secret)
        self.write = packet_key(self._current_write_secret, self._aead)
        self.phase += 1
        self._packets = self._octets = 0
        self._phase_confirmed = False
        self._discard_at = now + keep_previous

    def poll_timeout(self) -> Deadline | None:
        return None if self._discard_at is None else Deadline(self._discard_at, "old key")

    def handle_timeout(self, now: Instant) -> None:
        if self._discard_at is not None and now >= self._discard_at:
            self._discard_at = None
            self.previous_read = None
