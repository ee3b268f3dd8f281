"""Joins the datagrams of one drain: equal sizes to one route leave in one call (GSO)."""

from typing import Final

from p2pnode.machine import Transmit
from p2pnode.transports.route import Route

MAX_SEGMENTS: Final = 64
"""datagrams in one call; the kernel's UDP_MAX_SEGMENTS where it is smallest"""
MAX_BATCH_SIZE: Final = 64_424
"""bytes in one call: below an IP packet's limit, with a circuit's header on each segment"""


class DatagramBatch:
    """Collects datagrams in order; `finish` gives the transmits."""

    __slots__ = (
        "_ecn",
        "_parts",
        "_route",
        "_segment_size",
        "_segments",
        "_size",
        "_transmits",
        "_ttl",
    )

    def __init__(self) -> None:
        self._transmits: list[Transmit] = []
        self._parts: list[bytes] = []
        self._route: Route | None = None
        self._ecn: int = 0
        self._ttl: int | None = None
        self._segment_size = 0
        self._segments = 0
        self._size = 0

    @property
    def ttl(self) -> int | None:
        """Time to live of the datagrams that are added from now on, or None for the default."""
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: int | None) -> None:
        if ttl != self._ttl:
            self._flush()
            self._ttl = ttl

    def add(self, route: Route, ecn: int, size: int, *parts: bytes) -> None:
        """Appends one datagram of `size` bytes, given in parts."""
        if self._segments and (
            size > self._segment_size
            or self._segments >= MAX_SEGMENTS
            or self._size + size > MAX_BATCH_SIZE
            or route is not self._route
            or ecn != self._ecn
        ):
            self._flush()
        if not self._segments:
            self._route, self._ecn, self._segment_size = route, ecn, size
        self._parts += parts
        self._segments += 1
        self._size += size
        if size < self._segment_size:
            self._flush()

    def finish(self) -> list[Transmit]:
        self._flush()
        transmits, self._transmits = self._transmits, []
        return transmits

    def _flush(self) -> None:
        if not self._segments:
            return
        route = self._route
        assert route is not None
        self._transmits.append(
            Transmit(
                route.socket,
                route.local_ip,
                route.remote,
                self._ecn,
                self._ttl,
                self._segment_size,
                b"".join(self._parts),
            )
        )
        self._parts = []
        self._segments = self._size = 0
