"""Path MTU discovery by probe packets: DPLPMTUD (RFC 8899) as RFC 9000 section 14.3 uses it.

Sizes are bytes of UDP payload.  A search tries the largest size first, then what an Ethernet path
carries over both IP versions, then halves the list of sizes that real links have.  One probe is in
flight at a time; its loss says nothing about congestion.

    SEARCHING --nothing left to try-----------------> COMPLETE
    COMPLETE --raise timer--------------------------> SEARCHING (sizes above the current one)
    both --black hole: full-sized packets vanish----> SEARCHING from the base size
"""

from typing import Final

from p2pnode.clock import Deadline, Instant

BASE_SIZE: Final = 1200
"""bytes; RFC 9000 section 14: every path carries it"""
MAX_PROBES: Final = 3
"""lost probes of one size that rule it out; RFC 8899 section 5.1.2"""
RAISE_INTERVAL: Final = 600.0
"""s after a finished search until the next; RFC 8899 section 5.1.1"""
BLACK_HOLE_LOSSES: Final = 3
"""packets above the base size, lost in a row; chosen as RFC 8899's MAX_PROBES"""
BLACK_HOLE_PTOS: Final = 2
"""PTOs in a row; chosen: where even the probes are too large, no ACK tells of a loss"""
ETHERNET_SIZE: Final = 1452
"""bytes; a 1500-byte link over IPv6, and over IPv4 with 20 bytes to spare"""

COMMON_SIZES: Final = (
    1232,  # 1280: IPv6's minimum, over IPv6
    1252,  # the same over IPv4
    1372,  # 1420: WireGuard's default, over IPv6
    1392,  # the same over IPv4
    1412,  # 1460: some clouds, over IPv6
    1432,  # the same over IPv4
    1444,  # 1492: PPPoE, over IPv6
    ETHERNET_SIZE,
    1464,  # 1492: PPPoE, over IPv4
    1472,  # 1500: Ethernet, over IPv4
    4052,  # 4100: above the page-sized MTUs of some virtual networks
    8952,  # 9000: jumbo frames, over IPv6
    8972,  # the same over IPv4
    16_336,  # 16384: macOS's loopback, over IPv6
    32_720,  # a half of the largest: some tunnels
    65_487,  # the largest over IPv6 without a jumbogram
    65_507,  # the largest over IPv4
)


class MtuDiscovery:
    """`current` is what packets may have; it grows by acknowledged probes only.

    LossRecovery calls all `on_...` but `on_probe_sent`.
    """

    __slots__ = (
        "_failures",
        "_largest_acked_above_base",
        "_losses",
        "_maximum",
        "_probe",
        "_raise_at",
        "_sizes",
        "base",
        "current",
    )

    def __init__(self, base: int = BASE_SIZE, maximum: int = COMMON_SIZES[-1]) -> None:
        self.base = base
        self._maximum = max(base, maximum)
        self.current = base
        self._probe: int | None = None
        self._raise_at: Instant | None = None
        self._losses = 0
        self._largest_acked_above_base = -1
        self._sizes: list[int] = []
        self._failures: dict[int, int] = {}
        self._begin_search()

    @property
    def is_probing(self) -> bool:
        """True while a probe is in flight."""
        return self._probe is not None

    def probe_size(self, now: Instant) -> int | None:
        """Returns the size that wants a probe packet now."""
        if self._raise_at is not None and now >= self._raise_at:
            self._begin_search()
        if self._probe is not None or not self._sizes:
            return None
        untried = [size for size in self._sizes if size not in self._failures]
        ceiling = min(self._failures, default=None)
        if ceiling is None:
            return untried[-1]
        below = [size for size in untried if size < ceiling]
        if not below:
            return ceiling  # the smallest that was lost: once more, it may have been bad luck
        if ETHERNET_SIZE in below and len(self._failures) == 1:
            return ETHERNET_SIZE
        return below[len(below) // 2]

    def on_probe_sent(self, size: int, now: Instant) -> None:
        self._probe = size

    def on_probe_acked(self, size: int, now: Instant) -> None:
        if size == self._probe:
            self._probe = None
        if not self.current < size <= self._maximum:
            return
        self.current = size
        self._losses = 0
        self._keep_sizes(above=size, below=self._maximum + 1, now=now)

    def on_probe_lost(self, size: int, now: Instant) -> None:
        if size != self._probe:
            return
        self._probe = None
        if size not in self._sizes:
            return
        failures = self._failures.get(size, 0) + 1
        self._failures[size] = failures
        if failures >= MAX_PROBES:
            self._keep_sizes(above=self.current, below=size, now=now)

    def on_probe_forgotten(self) -> None:
        """The probe in flight will never get a verdict (its path was abandoned)."""
        self._probe = None

    def on_packet_acked(self, packet_number: int, size: int) -> None:
        """A packet arrived; of an ACK only the last one above the base size need be told."""
        if size > self.base and packet_number > self._largest_acked_above_base:
            self._largest_acked_above_base = packet_number
            self._losses = 0

    def on_packet_lost(self, packet_number: int, size: int, now: Instant) -> None:
        """An ordinary packet was lost; many in a row with none arriving are a black hole."""
        if size <= self.base or packet_number < self._largest_acked_above_base:
            return
        self._losses += 1
        if self._losses >= BLACK_HOLE_LOSSES:
            self._fall_back()

    def on_probe_timeout(self, pto_count: int, now: Instant) -> None:
        """The path has been silent for that many PTOs in a row."""
        if pto_count == BLACK_HOLE_PTOS:
            self._fall_back()

    def poll_timeout(self) -> Deadline | None:
        """Returns when to ask `probe_size` again; in the past until it is asked."""
        return None if self._raise_at is None else Deadline(self._raise_at, "path MTU raise")

    def _fall_back(self) -> None:
        self._losses = 0
        if self.current == self.base:
            return
        self.current = self.base
        self._begin_search()

    def _begin_search(self) -> None:
        self._raise_at = None
        self._failures = {}
        self._sizes = [size for size in COMMON_SIZES if self.current < size < self._maximum]
        if self._maximum > self.current:
            self._sizes.append(self._maximum)

    def _keep_sizes(self, *, above: int, below: int, now: Instant) -> None:
        self._sizes = [size for size in self._sizes if above < size < below]
        self._failures = {s: n for s, n in self._failures.items() if above < s < below}
        if not self._sizes and self.current < self._maximum:
            self._raise_at = now + RAISE_INTERVAL
