"""What a peer's packets cost this node, and what pays for them (specs/transport.md, Turns).

Work is counted where it is done, in units of about a microsecond of one core.  The rules: a
connection spends at most a turn's work before others are looked at; where more of it waits, each
one that waits is given some in turn; one that has spent more than its budget is given less.

Overhead is work that carries nothing: control frames, streams given up, requests to the node
itself.  It has a budget of its own, which also counts while nobody waits.
"""

from math import inf
from typing import Final

from p2pnode.clock import Instant

PACKET_WORK: Final = 30
"""units a datagram, whether it authenticates or not; measured"""
FRAME_WORK: Final = 3
"""units a STREAM frame; measured"""
ANSWERS_WORK: Final = 120
"""units of overhead that a stream of our own pays for: RESET_STREAM, STOP_SENDING and MAX_STREAMS
are answers to it"""
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
OVERHEAD_RATE: Final = 50_000
"""units a second that every connection's overhead has; chosen: a twentieth of a core, 50 identify
requests, 250 streams given up or 1,250 packets of a PING each"""
OVERHEAD_BURST: Final = 500_000
"""units that overhead saves up, or is overdrawn by, at most; chosen: ten seconds of the rate"""
OVERHEAD_RESERVE: Final = 50_000
"""units saved up again that end a shortage of overhead; chosen: a second of its rate"""
MAX_SHORTAGE: Final = 30.0
"""seconds of shortage that end a connection, with losses or without; chosen: a peer that keeps to
the pace has had as much again as its burst, three times"""
BYTES_PER_UNIT: Final = 16
"""bytes of data, either way, that pay for a unit; chosen: half a full packet pays for its work"""

LOSS_PERIOD: Final = 1.0
"""seconds over which is counted what was dropped unread; chosen: several round trips"""
LOSS_PART: Final = 8
"""More than one byte in so many dropped is more than congestion control loses for long; chosen"""
MAX_LOSS_PERIODS: Final = 10
"""periods in a row with such losses that end a connection beyond its budget; chosen"""


class Budget:
    """What may be spent: saved up to a bound, from a steady rate and from data that is carried."""

    __slots__ = ("_burst", "_carried", "_paid", "_rate", "_settled_at", "balance")

    def __init__(self, rate: int, burst: int, now: Instant = -inf) -> None:
        """`rate` in units a second, `burst` in units.  Full; without `now`, until `settle`."""
        self._rate = rate
        self._burst = burst
        self.balance: float = burst
        """Below 0 where more was spent than there was, by the last look at it."""
        self._settled_at = now
        self._paid = self._carried = 0
        """What was spent, and carried, by then."""

    def settle(self, spent: int, carried: int, now: Instant) -> None:
        """Brings the balance up to date; both are all so far."""
        earned = (now - self._settled_at) * self._rate + (carried - self._carried) / BYTES_PER_UNIT
        balance = self.balance + earned - (spent - self._paid)
        self.balance = max(-self._burst, min(self._burst, balance))
        self._settled_at, self._paid, self._carried = now, spent, carried


class Work:
    """One connection's account of work.  Amounts in units, sizes in bytes.

    The budget of all work is full when packets wait for the first time: before, nobody minded.
    """

    __slots__ = (
        "_all",
        "_came",
        "_dropped",
        "_loss_periods",
        "_overhead",
        "_period_end",
        "_settled_up_to",
        "_short_since",
        "_shortage",
        "datagram_bytes",
        "limit",
        "overhead",
        "spent",
    )

    def __init__(self, now: Instant = -inf) -> None:
        """`now` is when the connection began; without it, overhead has a burst more at first."""
        self.spent = 0
        """So far."""
        self.overhead = 0
        """What carried nothing, with the packets it came in; less what our own streams pay for."""
        self.limit = TURN_WORK
        """How far it may go before the connection's packets have to wait."""
        self.datagram_bytes = 0
        """Data of DATAGRAMs so far, either way."""
        self._all = Budget(WORK_RATE, WORK_BURST)
        self._overhead = Budget(OVERHEAD_RATE, OVERHEAD_BURST, now)
        self._settled_up_to = OVERHEAD_BURST
        """Overhead that is within its budget whatever time has paid for since."""
        self._short_since: Instant = inf
        self._shortage = -inf
        """seconds since overhead was overdrawn and had nothing to spare again, by the last look;
        -inf while it has"""
        self._came = self._dropped = 0
        """In this period."""
        self._period_end: Instant = -inf
        self._loss_periods = 0

    @property
    def is_overdrawn(self) -> bool:
        """Whether more was spent than a budget had, by the last look at it."""
        return self._all.balance < 0 or self.is_held

    @property
    def is_held(self) -> bool:
        """Whether nothing is read until time or data have paid for overhead, by the last look."""
        return self._overhead.balance < 0

    @property
    def is_flooding(self) -> bool:
        """True where the peer goes on beyond a budget though its packets wait and are dropped."""
        if self._loss_periods >= MAX_LOSS_PERIODS:
            return self.is_overdrawn
        return self.is_held and self._shortage >= MAX_SHORTAGE

    def add_overhead(self, units: int) -> None:
        """Counts work that was done and carried nothing."""
        self.spent += units
        self.overhead += units

    def renew(self) -> None:
        """Nobody waits: another turn begins, and what the last one cost is no matter.

        Beyond what overhead surely has, what comes next must wait for `grant`, which looks at it.
        """
        if self.overhead <= self._settled_up_to:
            self.limit = self.spent + TURN_WORK

    def grant(self, carried: int, now: Instant) -> None:
        """Gives some work to a connection whose packets wait, in place of what its turn had left.

        What it spent beyond its limit is made up for; nothing is given to one that `is_held`.
        `carried` is all data so far, either way.
        """
        self._all.settle(self.spent, carried, now)
        overhead = self._overhead
        overhead.settle(self.overhead, carried, now)
        self._settled_up_to = self.overhead + int(overhead.balance)
        if overhead.balance >= OVERHEAD_RESERVE:
            self._short_since = inf
        elif overhead.balance < 0:
            self._short_since = min(self._short_since, now)
        self._shortage = now - self._short_since
        if overhead.balance < 0:
            self.limit = self.spent  # the time that it is held makes up for the rest
            return
        quantum = WORK_QUANTUM // SLOWED_PART if self._all.balance < 0 else WORK_QUANTUM
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
