"""How long a NAT keeps an idle mapping: many spare sockets at once, each left alone for longer.

    every socket: look at a peer's other port, again 2 s later, close, silence of its own length,
    then the peer knocks:   arrives --> the mapping lived as long
                            does not --> it is dead, and so are all that wait longer

Two rounds: steps of a half, then even ones between the last that lived and the first that did not.
So the whole takes about twice the lifetime instead of a search's sum of waits.  The second packet
after 2 s makes the mapping one that is in use, as Linux counts it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.machine import SocketId, UdpAddr
from p2pnode.swarm.nat_knocking import KNOCKS, Ask, Knocking
from p2pnode.swarm.nat_spares import Looked

COARSE: Final = (10.0, 15.0, 22.0, 33.0, 50.0, 75.0, 112.0, 168.0, 252.0)
"""seconds of silence in the first round; measured lifetimes are 10 to 200 s (Richter 2016)"""
FINE: Final = 6
"""sockets of the second round; chosen: it ends within a twentieth of the truth"""
LIFETIME_SOCKETS: Final = len(COARSE) + FINE
LOOK_TIMEOUT: Final = 5.0
"""seconds for the handshake that opens a mapping; chosen: several losses"""
USE_TIME: Final = 2.5
"""seconds that a mapping is in use; Linux takes it for a stream after 2"""
CLOSE_AFTER: Final = 0.5
"""seconds from the last use to the close; chosen: its answer is here by then"""


class Field(Protocol):
    """What the measurement needs of its surroundings."""

    def look(
        self, socket: SocketId, remote: UdpAddr, now: Instant, timeout: float
    ) -> int | None: ...

    def ping(self, handle: int) -> None: ...

    def close(self, handle: int, now: Instant) -> None: ...


@dataclass(slots=True)
class _Rung:
    """One socket that is left alone for `idle` seconds."""

    socket: SocketId
    idle: float
    handle: int | None = None
    port: int | None = None
    used_at: Instant | None = None
    closes_at: Instant | None = None
    knocks_at: Instant | None = None
    knocking: Knocking | None = None
    lived: bool | None = None
    is_over: bool = False


class Lifetime:
    """`result` and `reason` hold once `is_over`."""

    def __init__(
        self,
        sockets: Sequence[SocketId],
        remote: UdpAddr,
        connection: int,
        nonce: Callable[[], bytes],
        field: Field,
        now: Instant,
    ) -> None:
        """`remote` is the peer's other port, `connection` how it is asked to knock."""
        self._free = list(sockets)
        self._remote = remote
        self._connection = connection
        self._nonce = nonce
        self._field = field
        self._low = 0.0
        self._high: float | None = None
        self._is_fine = False
        self._rungs: list[_Rung] = []
        self.is_over = False
        self.result: float | None = None
        """seconds: the longest silence that a mapping outlived"""
        self.reason = ""
        self._begin(COARSE, now)

    def on_looked(self, looked: Looked, now: Instant) -> None:
        """A mapping is open, or could not be opened."""
        for rung in self._rungs:
            if rung.handle == looked.handle and rung.port is None and not rung.is_over:
                if looked.observed is None:
                    rung.is_over = True
                else:
                    rung.port = looked.observed.port
                    rung.used_at = now + USE_TIME

    def on_knock(self, socket: SocketId, payload: bytes) -> None:
        """A datagram came in at a spare socket."""
        for rung in self._rungs:
            if rung.knocking is not None:
                rung.knocking.on_knock(socket, payload)

    @property
    def knockings(self) -> list[Knocking]:
        """Those that are going on."""
        return [r.knocking for r in self._rungs if r.knocking is not None and not r.is_over]

    def poll_asks(self, now: Instant) -> list[Ask]:
        """Returns the knocks to ask for now."""
        return [ask for knocking in self.knockings for ask in knocking.poll_asks(now)]

    def handle_timeout(self, now: Instant) -> None:
        """Does what is due."""
        for rung in self._rungs:
            if not rung.is_over:
                self._step(rung, now)
        if not self.is_over and all(rung.is_over for rung in self._rungs):
            self._conclude(now)

    def poll_timeout(self) -> Deadline | None:
        if self.is_over:
            return None
        return earliest(*(d for rung in self._rungs if not rung.is_over for d in _deadlines(rung)))

    def _begin(self, silences: Sequence[float], now: Instant) -> None:
        self._rungs = [
            _Rung(socket, idle) for socket, idle in zip(self._free, silences, strict=False)
        ]
        del self._free[: len(self._rungs)]
        for rung in self._rungs:
            rung.handle = self._field.look(rung.socket, self._remote, now, LOOK_TIMEOUT)
            rung.is_over = rung.handle is None

    def _step(self, rung: _Rung, now: Instant) -> None:
        if rung.used_at is not None and now >= rung.used_at and rung.handle is not None:
            self._field.ping(rung.handle)
            rung.used_at, rung.closes_at = None, now + CLOSE_AFTER
        if rung.closes_at is not None and now >= rung.closes_at and rung.handle is not None:
            self._field.close(rung.handle, now)
            rung.closes_at, rung.knocks_at = None, now + rung.idle
        if rung.knocks_at is not None and now >= rung.knocks_at and rung.port is not None:
            nonces = [self._nonce() for _ in range(KNOCKS)]
            rung.knocking = Knocking(self._connection, rung.socket, rung.port, nonces, now)
            rung.knocks_at = None
        if rung.knocking is not None:
            rung.knocking.handle_timeout(now)
            if rung.knocking.is_over:
                rung.is_over, rung.lived = True, rung.knocking.result
                self.reason = self.reason or rung.knocking.reason
                self._learn(rung)

    def _learn(self, rung: _Rung) -> None:
        if rung.lived:
            self._low = max(self._low, rung.idle)
        elif rung.lived is False:
            self._high = rung.idle if self._high is None else min(self._high, rung.idle)
            for other in self._rungs:
                other.is_over = other.is_over or other.idle > rung.idle

    def _conclude(self, now: Instant) -> None:
        high = self._high
        if high is not None and 0 < self._low < high and not self._is_fine and self._free:
            self._is_fine = True
            step = (high - self._low) / (FINE + 1)
            self._begin([self._low + step * n for n in range(1, FINE + 1)], now)
            return
        self.is_over = True
        if self._low and high is not None:
            self.result = round(self._low, 1)
        elif self._low:
            self.reason = f"more than {self._low:.0f} s, which is as long as is waited"
        elif high is not None:
            self.reason = f"less than {high:.0f} s, or the peer's knocks do not come in at all"
        else:
            self.reason = self.reason or "the peer's other port did not answer"


def _deadlines(rung: _Rung) -> list[Deadline | None]:
    named = (
        (rung.used_at, "a mapping is used again"),
        (rung.closes_at, "a mapping is left alone"),
        (rung.knocks_at, "a mapping was idle for long enough"),
    )
    found: list[Deadline | None] = [Deadline(at, why) for at, why in named if at is not None]
    if rung.knocking is not None:
        found.append(rung.knocking.poll_timeout())
    return found
