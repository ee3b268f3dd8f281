"""How long a NAT keeps an idle mapping: many measuring sockets at once, each left alone for longer.

    every socket: a knock at a peer's other port, and another one 2.5 s later; the peer knocks back;
    a last one; silence of the socket's own length; then the peer knocks once more:
        arrives         --> the mapping lived as long
        does not arrive --> it is dead, and so are all that wait longer

Two rounds: steps of a half, then even ones between the last that lived and the first that did not.
So the whole takes about twice the lifetime instead of a search's sum of waits.  What goes on before
the silence makes the mapping one that is in use, as Linux counts it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.netcheck.knocking import KNOCKS, Knocking, NatAsk
from p2pnode.netcheck.locating import Locating
from p2pnode.netcheck.measuring_sockets import MeasuringSockets
from p2pnode.protocols.nat_behaviour import encode_knock

COARSE: Final = (10.0, 15.0, 22.0, 33.0, 50.0, 75.0, 112.0, 168.0, 252.0)
"""seconds of silence in the first round; measured lifetimes are 10 to 200 s (Richter 2016)"""
FINE: Final = 6
"""sockets of the second round; chosen: it ends within a twentieth of the truth"""
LIFETIME_SOCKETS: Final = len(COARSE) + FINE
STAGGER: Final = 0.5
"""seconds between two sockets; chosen: what is asked of the peer does not come all at once"""
USE_TIME: Final = 2.5
"""seconds that a mapping is in use; Linux takes it for a stream after 2"""
LAST_DELAY: Final = 0.5
"""seconds from the peer's knock to ours, the last; chosen: no knock of its round comes later"""


@dataclass(slots=True)
class _Rung:
    """One socket that is left alone for `idle` seconds."""

    socket: SocketId
    idle: float
    starts_at: Instant
    asking: Locating | Knocking | None = None
    port: int | None = None
    """Where the peer sees the socket."""
    uses_at: Instant | None = None
    rests_at: Instant | None = None
    tests_at: Instant | None = None
    is_testing: bool = False
    is_over: bool = False


class Lifetime:
    """`result` and `reason` hold once `is_over`."""

    def __init__(
        self,
        sockets: Sequence[SocketId],
        remote: SocketAddr,
        connection: ConnectionHandle,
        nonce: Callable[[], bytes],
        measuring_sockets: MeasuringSockets,
        now: Instant,
    ) -> None:
        """`remote` is the other port of the peer of `connection`."""
        self._free = list(sockets)
        self._remote = remote
        self._connection = connection
        self._nonce = nonce
        self._measuring_sockets = measuring_sockets
        self._low = 0.0
        self._high: float | None = None
        self._is_fine = False
        self._rungs: list[_Rung] = []
        self.is_over = False
        self.result: float | None = None
        """seconds: the longest silence that a mapping outlived"""
        self.reason = ""
        self._begin(COARSE, now)

    @property
    def askings(self) -> list[Locating | Knocking]:
        """Those that want to hear of answers."""
        return [r.asking for r in self._rungs if r.asking is not None and not r.is_over]

    def on_knock(self, socket: SocketId, payload: bytes, now: Instant) -> None:
        """A datagram came in at a measuring socket."""
        for asking in self.askings:
            if isinstance(asking, Knocking):
                asking.on_knock(socket, payload)

    def poll_asks(self, now: Instant) -> list[NatAsk]:
        """Returns what to ask the peer now."""
        return [ask for asking in self.askings for ask in asking.poll_asks(now)]

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
        pairs = enumerate(zip(self._free, silences, strict=False))
        self._rungs = [_Rung(socket, idle, now + n * STAGGER) for n, (socket, idle) in pairs]
        del self._free[: len(self._rungs)]

    def _step(self, rung: _Rung, now: Instant) -> None:
        if rung.asking is None and rung.port is None and now >= rung.starts_at:
            rung.asking = Locating(
                self._connection,
                rung.socket,
                self._remote,
                self._nonce(),
                self._measuring_sockets,
                now,
            )
        if rung.uses_at is not None and now >= rung.uses_at:
            rung.uses_at = None
            self._use(rung)
            self._have_knocked(rung, now)
        if rung.rests_at is not None and now >= rung.rests_at:
            rung.rests_at, rung.tests_at = None, now + rung.idle
            self._use(rung)
        if rung.tests_at is not None and now >= rung.tests_at:
            rung.tests_at, rung.is_testing = None, True
            self._have_knocked(rung, now)
        if rung.asking is not None:
            rung.asking.handle_timeout(now)
            if rung.asking.is_over:
                self._on_asked(rung, rung.asking, now)

    def _on_asked(self, rung: _Rung, asking: Locating | Knocking, now: Instant) -> None:
        rung.asking = None
        self.reason = self.reason or asking.reason
        if isinstance(asking, Locating):
            if asking.result is None:
                rung.is_over = True
            else:
                rung.port = asking.result.port
                rung.uses_at = now + USE_TIME
        elif rung.is_testing:
            rung.is_over = True
            self._learn(rung, lived=asking.result)
        elif asking.result:
            rung.rests_at = now + LAST_DELAY
        else:
            rung.is_over = True
            self.reason = self.reason or "the peer's knocks do not come in at all"

    def _use(self, rung: _Rung) -> None:
        self._measuring_sockets.send(rung.socket, self._remote, encode_knock(self._nonce()))

    def _have_knocked(self, rung: _Rung, now: Instant) -> None:
        if rung.port is not None:
            nonces = [self._nonce() for _ in range(KNOCKS)]
            rung.asking = Knocking(self._connection, rung.socket, rung.port, nonces, now)

    def _learn(self, rung: _Rung, *, lived: bool | None) -> None:
        if lived:
            self._low = max(self._low, rung.idle)
        elif lived is False:
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
            self.reason = f"less than {high:.0f} s, the shortest silence that is tried"
        else:
            self.reason = self.reason or "the peer's other port did not answer"


def _deadlines(rung: _Rung) -> list[Deadline | None]:
    if rung.asking is not None:
        return [rung.asking.poll_timeout()]
    starts_at = None if rung.port is not None else rung.starts_at
    named = (
        (starts_at, "a mapping is opened"),
        (rung.uses_at, "a mapping is used again"),
        (rung.rests_at, "a mapping is left alone"),
        (rung.tests_at, "a mapping was idle for long enough"),
    )
    return [Deadline(at, why) for at, why in named if at is not None]
