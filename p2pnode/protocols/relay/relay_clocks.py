"""What relays' wall clocks are to ours (specs/relay.md, Clocks).

A relay tells the end of a reservation as a Unix time by its own clock.  Nobody's clock need be
right for that: what differs is estimated for each relay, and never set right here or there.

    expiry less our time            plausible as a lifetime?  Then it is one.
    ... less the relay's lead       the lead that its signed record shows, where it shows one
    neither                         an hour is what relays grant; it is renewed at half

Rule: what is estimated decides when a reservation is renewed, and what is reported, nothing else.
"""

from typing import Final, NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_record import unix_time_of

USUAL_LIFETIME: Final = 3600.0
"""seconds; what go-libp2p, rust-libp2p and this node's relays grant"""
MIN_LIFETIME: Final = 60.0
"""seconds; chosen: who renews more often is not kept waiting by any relay"""
MAX_LIFETIME: Final = 7200.0
"""seconds; what js-libp2p grants: nobody is known to grant more"""
CLOCK_SLACK: Final = 300.0
"""seconds by which clocks differ without being spoken of; Kerberos (RFC 4120)"""
MAX_RELAYS: Final = 64
"""relays whose clocks are remembered; chosen: thrice the candidates of auto-relay"""


class Believed(NamedTuple):
    """What a relay's word of a reservation's end is taken for."""

    lifetime: float
    """Seconds from now on."""
    is_certain: bool
    """False where only the usual can be assumed: renew early."""


class _Record(NamedTuple):
    seq: int
    unix_offset: float
    """The Unix time that it names, less our instant when it came."""


class RelayClocks:
    """Belongs to one client of relays."""

    def __init__(self, *, now: Instant, unix_now: UnixTime) -> None:
        self._unix_offset = unix_now - now
        self._records = Bounded[PeerId, _Record](MAX_RELAYS)
        self._ahead = Bounded[PeerId, float](MAX_RELAYS)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """Our own wall clock was set."""
        self._unix_offset = unix_now - now

    def note_record(self, relay: PeerId, seq: int | None, now: Instant) -> None:
        """The relay has handed out its signed record, which was made at its time or before."""
        known = self._records.get(relay)
        if known is not None and known.seq == seq:
            return  # it proves less of the relay's clock the later it comes
        stamp = None if seq is None else unix_time_of(seq)
        if seq is None or stamp is None:
            self._records.pop(relay, None)
        else:
            self._records[relay] = _Record(seq, stamp - now)

    def judge(self, relay: PeerId, expire: int, now: Instant) -> Believed:
        """The relay grants a reservation until `expire`, Unix time, seconds; 0 where unsaid."""
        promised = expire - (now + self._unix_offset)
        record = self._records.get(relay)
        lead = 0.0 if record is None else record.unix_offset - self._unix_offset
        lead = lead if lead > CLOCK_SLACK else 0.0
        for ahead in (lead, 0.0):
            if MIN_LIFETIME <= promised - ahead <= USUAL_LIFETIME + CLOCK_SLACK:
                self._ahead[relay] = ahead
                return Believed(min(promised - ahead, USUAL_LIFETIME), True)
        is_possible = expire == 0 or MIN_LIFETIME <= promised <= MAX_LIFETIME + CLOCK_SLACK
        self._ahead[relay] = lead if is_possible else promised - USUAL_LIFETIME
        return Believed(USUAL_LIFETIME, False)

    def ahead(self, relay: PeerId) -> float:
        """Returns the seconds that the relay's clock is ahead of ours, as far as is known.

        Negative where it is behind, 0 where they agree to within CLOCK_SLACK or nobody can tell.
        """
        return self._ahead.get(relay, 0.0)
