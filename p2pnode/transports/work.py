"""What a peer's packets cost this node, and what pays for them (specs/transport.md, Turns).

Work is counted where it is done, in units of about a microsecond of one core.  The rules: a
connection spends at most a turn's work before others are looked at; where more of it waits, each
one that waits is given some in turn; one that has spent more than its budget is given less.
"""

from math import inf
from typing import Final

from p2pnode.clock import Instant

PACKET_WORK: Final = 30
"""units a datagram, whether it authenticates or not; measured"""
FRAME_WORK: Final = 3
"""units a STREAM frame; measured"""
CONTROL_FRAME_WORK: Final = 10
"""units any other frame; measured: from 2 to 9 with what follows from it"""
OBSERVATION_WORK: Final = 400
"""units that an OBSERVED_ADDRESS costs besides; measured of one that comes alone: the whole node
weighs what it says"""
STREAM_WORK: Final = 200
"""units a stream that the peer opens; measured, with its negotiation and its end"""
REQUEST_WORK: Final = 800
"""units that a stream of a built-in protocol costs besides; measured for identify"""
HANDSHAKE_WORK: Final = 2000
"""units a handshake's message that is read; measured: Diffie-Hellman and signatures"""

TURN_WORK: Final = 20_000
"""units before other input is looked at; chosen: 20 ms, twice a full batch of a fast transfer"""
WAITING_TURN_WORK: Final = 5000
"""units before other input is looked at while packets wait; chosen: 5 ms, 25 times what it costs to
look"""
WORK_QUANTUM: Final = 2000
"""units that a connection whose packets wait is given at a time; chosen: some 50 packets"""
SLOWED_PART: Final = 4
"""A connection beyond its budget is given so many times less; chosen"""
WORK_RATE: Final = 100_000
"""units a second that every connection's budget has; chosen: a tenth of a core"""
WORK_BURST: Final = 1_000_000
"""units that a budget saves up, or is overdrawn by, at most; chosen: ten seconds of the rate"""
BYTES_PER_UNIT: Final = 16
"""bytes of data, either way, that pay for a unit; chosen: half a full packet pays for its work"""

LOSS_PERIOD: Final = 1.0
"""seconds over which is counted what was dropped unread; chosen: several round trips"""
LOSS_PART: Final = 8
"""More than one byte in so many dropped is more than congestion control loses for long; chosen"""
MAX_LOSS_PERIODS: Final = 10
"""periods in a row with such losses that end a connection beyond its budget; chosen"""


class Work:
    """One connection's account of work.  Amounts in units, sizes in bytes.

    The budget is full when packets wait for the first time: before, nobody minded.
    """

    __slots__ = (
        "_balance",
        "_came",
        "_carried",
        "_dropped",
        "_loss_periods",
        "_paid",
        "_period_end",
        "_settled_at",
        "datagram_bytes",
        "limit",
        "spent",
    )

    def __init__(self) -> None:
        self.spent = 0
        """So far."""
        self.limit = TURN_WORK
        """How far it may go before the connection's packets have to wait."""
        self._balance: float = WORK_BURST
        self.datagram_bytes = 0
        """Data of DATAGRAMs so far, either way."""
        self._settled_at: Instant = -inf
        self._paid = self._carried = 0
        """What was spent, and carried, by then."""
        self._came = self._dropped = 0
        """In this period."""
        self._period_end: Instant = -inf
        self._loss_periods = 0

    @property
    def is_overdrawn(self) -> bool:
        """Whether more was spent than the budget had, by the last look at it."""
        return self._balance < 0

    @property
    def is_flooding(self) -> bool:
        """True where the peer goes on beyond its budget though its packets are dropped for it."""
        return self.is_overdrawn and self._loss_periods >= MAX_LOSS_PERIODS

    def renew(self) -> None:
        """Nobody waits: another turn begins, and what the last one cost is no matter."""
        self.limit = self.spent + TURN_WORK

    def grant(self, carried: int, now: Instant) -> None:
        """Gives some work to a connection whose packets wait, in place of what its turn had left.

        What it spent beyond its limit is made up for.  `carried` is all data so far, either way.
        """
        earned = (now - self._settled_at) * WORK_RATE + (carried - self._carried) / BYTES_PER_UNIT
        balance = self._balance + earned - (self.spent - self._paid)
        self._balance = max(-WORK_BURST, min(WORK_BURST, balance))
        self._settled_at, self._paid, self._carried = now, self.spent, carried
        quantum = WORK_QUANTUM // SLOWED_PART if self.is_overdrawn else WORK_QUANTUM
        self.limit = min(self.limit, self.spent) + quantum

    def on_waiting(self, came: int, dropped: int, now: Instant) -> None:
        """Packets were put into the connection's queue, and others dropped from it."""
        if now >= self._period_end:
            is_lossy = self._dropped * LOSS_PART > self._came
            goes_on = now < self._period_end + LOSS_PERIOD
            self._loss_periods = self._loss_periods + 1 if is_lossy and goes_on else 0
            self._came = self._dropped = 0
            self._period_end = now + LOSS_PERIOD
        self._came += came
        self._dropped += dropped
