"""A siege: several attacks at once from several addresses, each within its rate.

siege = Siege(SIEGE, sources=64, entropy=os.urandom)
siege.poll(now, send)         sends what the rates allow
siege.handle(datagram, now)   gives what came to the attack that waits for it
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from p2pnode.entropy import Entropy
from p2pnode.transports.noise_udp.packet import DATA, KEY_PHASE, STATELESS_RESET
from tests.siege.attack import Attack, Field, Outgoing
from tests.siege.flood import Flood
from tests.siege.half_open import EarlyPackets, HalfOpen
from tests.siege.holding import Crowd, Hoard
from tests.siege.hostile_peer import HostilePeer
from tests.siege.payloads import (
    Holes,
    empty_stream_frames,
    identify_pushes,
    identify_requests,
    observed_addresses,
    pings,
    provoked_frames,
    reset_streams,
    short_streams,
)

MEGABIT: Final = 125_000
"""bytes"""
BURST: Final = 0.05
"""seconds that an attack may catch up with"""
IDENTITIES: Final = 4096
"""of a crowd; more than a network has places"""


class Plan(NamedTuple):
    """One attack, and its part of 50 Mbit/s."""

    name: str
    megabits: float
    make: Callable[[str, float, Field], Attack]


ROWS: Final[dict[str, tuple[Plan, ...]]] = {
    "1": (
        Plan("provoked frames", 0.5, lambda *of: Flood(*of, provoked_frames, acknowledges=False)),
    ),
    "2": (Plan("handshakes", 3.2, lambda *of: Crowd(*of, identities=IDENTITIES)),),
    "3": (
        Plan("short streams", 1.5, lambda *of: Flood(*of, short_streams)),
        Plan("reset streams", 1.0, lambda *of: Flood(*of, reset_streams)),
        Plan("identify", 2.5, lambda *of: Flood(*of, identify_requests)),
        Plan("identify push", 3.3, lambda *of: Flood(*of, identify_pushes)),
        Plan("OBSERVED_ADDRESS", 6.5, lambda *of: Flood(*of, observed_addresses)),
        Plan("PING", 8.5, lambda *of: Flood(*of, pings)),
        Plan("empty STREAM", 11.5, lambda *of: Flood(*of, empty_stream_frames)),
    ),
    "4": (Plan("early packets", 5.0, EarlyPackets),),
    "5": (Plan("half-open", 2.0, HalfOpen),),
    "6": (
        Plan("data behind a hole", 2.5, lambda *of: Hoard(*of, Holes(piece=1100, step=1100))),
        Plan("one-byte pieces", 2.5, lambda *of: Hoard(*of, Holes(piece=1, step=2))),
    ),
}
"""By number; those of SIEGE are 50 Mbit/s together."""
SIEGE: Final = ("2", "3", "4", "5", "6")


class Siege:
    """A Field, and the clock's hand on its attacks."""

    def __init__(
        self,
        rows: Sequence[str],
        *,
        sources: int,
        entropy: Entropy,
        scale: float = 1.0,
        only: Sequence[str] = (),
    ) -> None:
        """`scale` multiplies all rates; `only`: the names of attacks, where not all are wanted."""
        self.entropy = entropy
        self.sources = sources
        self._met: dict[int, tuple[Attack, HostilePeer | None]] = {}
        plans = [plan for row in rows for plan in ROWS[row] if not only or plan.name in only]
        self.attacks = [
            plan.make(plan.name, plan.megabits * MEGABIT * scale, self) for plan in plans
        ]
        self._paid = [0.0] * len(self.attacks)
        """Until when each attack has used its rate."""
        self.sent = [0] * len(self.attacks)
        """bytes"""
        self.received = 0

    def meet(self, connection_id: int, attack: Attack, peer: HostilePeer | None) -> None:
        self._met[connection_id] = (attack, peer)

    def leave(self, connection_id: int) -> None:
        self._met.pop(connection_id, None)

    def poll(self, now: float, send: Outgoing) -> None:
        """Lets each attack send until it has used its rate up."""
        for index, attack in enumerate(self.attacks):
            used = 0

            def count(source: int, datagram: bytes) -> None:
                nonlocal used
                used += len(datagram)
                send(source, datagram)

            paid = max(self._paid[index], now - BURST)
            while paid < now:
                used = 0
                if not attack.step(count, now):
                    paid = now
                paid += used / attack.rate
                self.sent[index] += used
            self._paid[index] = paid

    def handle(self, datagram: bytes, now: float) -> None:
        """Takes what came to any of the addresses."""
        kind = datagram[0] & ~KEY_PHASE
        at = 1 if kind in (DATA, STATELESS_RESET) else 2
        found = self._met.get(int.from_bytes(datagram[at : at + 8], "big"))
        if found is not None:
            attack, peer = found
            self.received += len(datagram)
            attack.on_datagram(peer, datagram, now)
