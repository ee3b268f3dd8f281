"""How a site is joined to the Internet, and what went over that line: values that both sides know.

The defaults make 50 ms of round trip between any two sites, as in `p2pnode.netsim.topology`.
"""

from typing import NamedTuple

ACCESS_DELAY = 0.0125
"""seconds one way; chosen: two access lines each way make 50 ms of round trip"""

CORE_HOPS = 8
"""hops that the Internet costs; chosen: an opener with a TTL of 3 to 8 dies in its middle"""

DEFAULT_QUEUE = 256 * 1024
"""bytes; chosen: about 170 full packets, 52 ms at 40 Mbit/s"""


class AccessLink(NamedTuple):
    """An access line; each direction has these properties on its own."""

    delay: float = ACCESS_DELAY
    """seconds"""
    loss: float = 0.0
    """share of packets"""
    megabits: float | None = None
    """per second, IP headers included; None for as much as this machine can carry"""
    queue: int = DEFAULT_QUEUE
    """bytes that wait where `megabits` is exceeded; what exceeds them is dropped"""


class Traffic(NamedTuple):
    """What the Internet has seen of a site."""

    sent_packets: int
    """by the site, whatever became of them"""
    sent_bytes: int
    received_packets: int
    """given to the site"""
    received_bytes: int
    dropped: dict[str, int]
    """packets that the site sent, or that were on the way to it, by reason"""
