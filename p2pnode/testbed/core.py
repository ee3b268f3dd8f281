"""The middle of the Internet: where a packet goes, when it arrives there, and why it does not.

    device of a site -> its access line -> hops -> the other access line -> device of the other

Packets are ordered by when they are due, in one heap.  A line with a rate is a queue that is known
by the moment at which it will be empty: a packet waits until then, or is dropped where that is
longer than the queue.

Rule: a site may send from its own prefixes only (RFC 2827), so what a NAT failed to translate is
never delivered.  This is the hot loop of the test bed; it is written for speed.
"""

import heapq
import os
from random import Random
from typing import Any

from p2pnode.clock import Instant
from p2pnode.testbed.access import AccessLink
from p2pnode.testbed.packets import (
    destination_key,
    prefix_key,
    source_key,
    spend_hops,
    time_exceeded,
)

MAX_READS = 64
"""packets from one device before the others have their turn; chosen: what GSO sends at once"""

MAX_IN_FLIGHT = 32_768
"""packets; chosen: 48 MB of full ones, some 50 ms of what this loop can carry at all"""

MAX_PACKET_SIZE = 65_535  # bytes (RFC 791)


class _Line:
    """One direction of an access line with a rate."""

    def __init__(self) -> None:
        self.empty_at: Instant = 0.0

    def pass_through(self, size: int, access: AccessLink, now: Instant) -> Instant | None:
        """Returns when a packet is through, or None where the queue is full."""
        if access.megabits is None:
            return now
        bytes_per_second = access.megabits * 125_000
        start = max(now, self.empty_at)
        if (start - now) * bytes_per_second + size > access.queue:
            return None
        self.empty_at = start + size / bytes_per_second
        return self.empty_at


class _Site:
    def __init__(self, name: str, file: int, access: AccessLink, rng: Random) -> None:
        self.name = name
        self.file = file
        self.access = access
        self.rng = rng
        self.keys: frozenset[bytes] = frozenset()
        self.is_up = True
        self.upstream, self.downstream = _Line(), _Line()
        self.sent_packets = self.sent_bytes = 0
        self.received_packets = self.received_bytes = 0
        self.dropped: dict[str, int] = {}

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class Core:
    """Carries packets between the files of sites; `now` is an argument."""

    def __init__(self, *, hops: int, time_exceeded: bool, seed: int | str) -> None:
        self._hops = hops
        self._tells_time_exceeded = time_exceeded
        self._seed = seed
        self._sites: dict[str, _Site] = {}
        self._by_file: dict[int, _Site] = {}
        self._by_key: dict[bytes, _Site] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self._count = 0
        # (when, order of arrival, destination, packet, whether it is still before the last line)
        self._flying: list[tuple[Instant, int, _Site, bytes | bytearray, bool]] = []

    def add(self, *, site: str, file: int, prefixes: list[str], access: AccessLink) -> None:
        added = _Site(site, file, access, Random(f"{self._seed}/{site}"))
        self._sites[site] = self._by_file[file] = added
        self.set_prefixes(site=site, prefixes=prefixes)

    def set_prefixes(self, *, site: str, prefixes: list[str]) -> None:
        """Routes these prefixes to the site, and no others."""
        changed = self._sites[site]
        for key in changed.keys:
            del self._by_key[key]
        changed.keys = frozenset(prefix_key(prefix) for prefix in prefixes)
        self._by_key.update(dict.fromkeys(changed.keys, changed))

    def set_access(self, *, site: str, access: list[Any]) -> None:
        self._sites[site].access = AccessLink(*access)

    def set_up(self, *, site: str, up: bool) -> None:
        self._sites[site].is_up = up

    def set_delay(self, *, one: str, other: str, delay: float | None) -> None:
        """Sets the delay between two sites, both ways; None for that of their access lines."""
        for pair in ((one, other), (other, one)):
            self._delays.pop(pair, None)
            if delay is not None:
                self._delays[pair] = delay

    def traffic(self, *, site: str) -> list[Any]:
        """Returns the fields of `Traffic`."""
        seen = self._sites[site]
        sent, received = (seen.sent_packets, seen.sent_bytes), seen.received_packets
        return [*sent, received, seen.received_bytes, seen.dropped]

    def next_due(self) -> Instant | None:
        return self._flying[0][0] if self._flying else None

    def read(self, file: int, now: Instant) -> None:
        """Takes what a site has sent."""
        site = self._by_file[file]
        for _ in range(MAX_READS):
            try:
                packet = os.read(file, MAX_PACKET_SIZE)
            except OSError:
                return  # nothing more, or the device is down
            self._take(site, packet, now)

    def deliver(self, now: Instant) -> None:
        """Gives the sites what is due."""
        flying = self._flying
        while flying and flying[0][0] <= now:
            when, _, site, packet, is_before_line = heapq.heappop(flying)
            if is_before_line:
                through = site.downstream.pass_through(len(packet), site.access, when)
                if through is None:
                    site.drop("queue")
                else:
                    self._push(through, site, packet, is_before_line=False)
            elif site.is_up:
                self._write(site, packet)
            else:
                site.drop("cut")

    def _take(self, site: _Site, packet: bytes, now: Instant) -> None:
        site.sent_packets += 1
        site.sent_bytes += len(packet)
        target = self._by_key.get(destination_key(packet))
        if target is None:
            site.drop("no route")  # also what the kernel tells its neighbours by multicast
            return
        if source_key(packet) not in site.keys:
            site.drop("foreign source")
            return
        if not (site.is_up and target.is_up):
            site.drop("cut")
            return
        if site.access.loss > 0.0 and site.rng.random() < site.access.loss:
            site.drop("loss")
            return
        if target.access.loss > 0.0 and target.rng.random() < target.access.loss:
            target.drop("loss")
            return
        through = site.upstream.pass_through(len(packet), site.access, now)
        if through is None:
            site.drop("queue")
            return
        changed = spend_hops(packet, self._hops)
        if changed is None:
            self._say_that_it_died(site, packet, through)
            return
        delay = self._delays.get((site.name, target.name)) if self._delays else None
        if delay is None:
            delay = site.access.delay + target.access.delay
        is_slow = target.access.megabits is not None
        self._push(through + delay, target, changed, is_before_line=is_slow)

    def _say_that_it_died(self, site: _Site, packet: bytes, when: Instant) -> None:
        site.drop("ttl")
        message = time_exceeded(packet) if self._tells_time_exceeded else None
        if message is not None:
            self._push(when + 2 * site.access.delay, site, message, is_before_line=False)

    def _push(
        self, when: Instant, site: _Site, packet: bytes | bytearray, *, is_before_line: bool
    ) -> None:
        if len(self._flying) >= MAX_IN_FLIGHT:
            site.drop("too many")
            return
        self._count += 1  # equal times keep the order, and sites are never compared
        heapq.heappush(self._flying, (when, self._count, site, packet, is_before_line))

    def _write(self, site: _Site, packet: bytes | bytearray) -> None:
        try:
            os.write(site.file, packet)
        except OSError:
            site.drop("device down")
            return
        site.received_packets += 1
        site.received_bytes += len(packet)
