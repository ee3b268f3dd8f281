"""Links as people have them: iroh's ladder of bad networks, so that results can be compared.

Rate, delay, loss and mean burst are those of iroh's `degrade` tests; "burst" is the mean length of
a run of lost packets.
"""

from p2pnode.netsim.link import GilbertElliott, LinkParams

MBIT = 1e6
"""Bits a second."""


def _bursty(rate: float, delay: float, loss: float, burst: float) -> LinkParams:
    return LinkParams(rate=rate, delay=delay, bursts=GilbertElliott.with_rate(loss, burst))


GOOD_WIFI = LinkParams(rate=100 * MBIT, delay=0.016, loss=0.001)
CONGESTED_WIFI = _bursty(25 * MBIT, 0.040, 0.01, 6)
WEAK_4G = _bursty(8 * MBIT, 0.090, 0.02, 8)
SLOW_3G = _bursty(3 * MBIT, 0.200, 0.03, 10)
CONGESTED_CELL = _bursty(1.5 * MBIT, 0.300, 0.05, 12)
VERY_BAD = _bursty(0.8 * MBIT, 0.450, 0.08, 20)
SATELLITE = LinkParams(rate=25 * MBIT, delay=0.600, loss=0.015)
BARELY_USABLE = _bursty(0.5 * MBIT, 0.450, 0.12, 25)
ABSURD = _bursty(0.256 * MBIT, 0.800, 0.25, 40)

LADDER: dict[str, LinkParams] = {
    "good wifi": GOOD_WIFI,
    "congested wifi": CONGESTED_WIFI,
    "weak 4G": WEAK_4G,
    "slow 3G": SLOW_3G,
    "congested cell": CONGESTED_CELL,
    "very bad": VERY_BAD,
    "satellite": SATELLITE,
    "barely usable": BARELY_USABLE,
    "absurd": ABSURD,
}
"""From the best to the worst."""
