"""When a connection is idle, asks for a sign of life, or has to help a server that may not send."""

import math
from typing import TYPE_CHECKING, Final

from p2pnode.clock import Instant
from p2pnode.transports.delivery.loss_recovery import MAX_PTO_INTERVAL
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.handshaking import Handshaking
from p2pnode.transports.quic_v1.path import Path

if TYPE_CHECKING:
    from p2pnode.transports.quic_v1.parameters import TransportParameters

IDLE_PTOS: Final = 3
"""probe timeouts that the idle timeout is never shorter than (RFC 9000 section 10.1)"""
PREVIOUS_KEY_PTOS: Final = 3
"""probe timeouts that packets of the last key phase may be late (RFC 9001 section 6.5)"""
MAX_DEADLOCK_DOUBLINGS: Final = 4
"""of a client's timer while it waits for a server that may not send; chosen: 16 s at most"""


class Timers:
    """Computed from what others know; nothing here is set."""

    __slots__ = ("_config", "_handshaking", "_path", "deadlocks", "idle_from", "remote")

    def __init__(
        self, path: Path, handshaking: Handshaking, config: QuicConfig, now: Instant
    ) -> None:
        self._path = path
        self._handshaking = handshaking
        self._config = config
        self.idle_from = now
        """When something authentic came last, or when the connection was begun."""
        self.deadlocks = 0
        """How often `deadlock_at` has come."""
        self.remote: TransportParameters | None = None
        """What the peer declared, once the handshake is complete."""

    @property
    def max_ack_delay(self) -> float:
        """seconds; the peer's"""
        return 0.0 if self.remote is None else self.remote.max_ack_delay_ms / 1000

    @property
    def pto(self) -> float:
        """Seconds, bounded: with late ACKs a peer makes its round trips as long as it likes."""
        return min(self._path.rtt.pto_interval(self.max_ack_delay), MAX_PTO_INTERVAL)

    def idle_at(self) -> Instant:
        return self.idle_from + max(self._idle_timeout(), IDLE_PTOS * self.pto)

    def keep_alive_at(self) -> Instant:
        return self._path.last_sent + min(self._config.keep_alive, self._idle_timeout() / 2)

    def deadlock_at(self) -> Instant:
        """Returns when a client has to send though nothing of its own is in flight.

        A server whose packets were lost may have used up what it may send (RFC 9002 6.2.2.1).
        """
        handshaking = self._handshaking
        if not handshaking.is_client or handshaking.is_confirmed:
            return math.inf
        if any(space.recovery.bytes_in_flight for space in handshaking.spaces.values()):
            return math.inf
        pto = self._path.rtt.pto_interval(0.0)
        return self._path.last_sent + pto * (1 << min(self.deadlocks, MAX_DEADLOCK_DOUBLINGS))

    def _idle_timeout(self) -> float:
        """Returns the shorter of the two that are set (RFC 9000 section 10.1)."""
        theirs = 0 if self.remote is None else self.remote.max_idle_timeout_ms
        ours = self._config.idle_timeout
        return min(ours, theirs / 1000) if theirs else ours
