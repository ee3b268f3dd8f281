"""What happened to every packet and link, in order: bounded rings, running totals and a digest.

A ring forgets the oldest records; totals and digest cover the whole run.  Two runs with equal
digests sent, translated, dropped and delivered the same datagrams, and the same bytes of links, at
the same virtual times.
"""

import enum
import hashlib
import zlib
from collections import deque
from typing import NamedTuple

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.packet import Packet

RING_SIZE = 20_000
"""Records.  Chosen: at most 30 MB of full-size packets, and seconds of a busy transfer."""

DIGEST_CHUNK = 512
"""Records that are hashed in one go; only speed depends on it."""


class Kind(enum.StrEnum):
    """What a record tells."""

    SENT = "sent"
    TRANSLATED = "translated"
    DELIVERED = "delivered"
    DROPPED = "dropped"


class LinkKind(enum.StrEnum):
    """What has come through a pipe."""

    OPEN = "open"
    """A wish to connect, or its acceptance."""
    DATA = "data"
    FIN = "fin"
    RESET = "reset"
    REFUSED = "refused"


class Drop(enum.StrEnum):
    """Why a packet went no further."""

    UNPLUGGED = "unplugged"
    LINK_DOWN = "link down"
    LOSS = "loss"
    QUEUE_FULL = "queue full"
    TOO_BIG = "too big"
    TTL_EXPIRED = "ttl expired"
    NO_ROUTE = "no route"
    NO_MAPPING = "no mapping"
    FILTERED = "filtered"
    NO_HAIRPIN = "no hairpin"
    NO_FREE_PORT = "no free port"
    QUOTA = "quota"
    TABLE_FULL = "table full"
    BLOCKED = "blocked"
    BAD_SOCKET = "bad socket"
    BAD_SOURCE = "bad source"
    NOT_OURS = "not ours"
    PORT_CLOSED = "port closed"
    BUFFER_FULL = "buffer full"
    HOST_DOWN = "host down"


class Record(NamedTuple):
    """One thing that happened to one packet."""

    at: Instant
    kind: Kind
    where: str
    """The part's name."""
    packet: Packet
    """As it left that part (SENT, TRANSLATED) or reached it (DELIVERED, DROPPED)."""
    reason: Drop | None


class LinkRecord(NamedTuple):
    """One thing that has come through a pipe, as it arrived."""

    at: Instant
    kind: LinkKind
    hosts: tuple[str, str]
    """From where to where, by name."""
    addresses: tuple[SocketAddr, SocketAddr]
    """The same, as the other host sees each."""
    payload: bytes


class Trace:
    """The memory of a world.  Parts write it; tests, pictures and captures read it."""

    def __init__(self, ring_size: int = RING_SIZE) -> None:
        self.records: deque[Record] = deque(maxlen=ring_size)
        self.links: deque[LinkRecord] = deque(maxlen=ring_size)
        self.link_counts: dict[LinkKind, int] = dict.fromkeys(LinkKind, 0)
        self.counts: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.drops: dict[tuple[str, Drop], int] = {}
        """Packets dropped, by part and reason."""
        self._hash = hashlib.sha256()
        self._unhashed: list[str] = []

    def sent(self, now: Instant, where: str, packet: Packet) -> None:
        """A host put the packet on an interface."""
        self._record(Record(now, Kind.SENT, where, packet, None))

    def translated(self, now: Instant, where: str, packet: Packet) -> None:
        """A NAT box let the packet pass, with these addresses."""
        self._record(Record(now, Kind.TRANSLATED, where, packet, None))

    def delivered(self, now: Instant, where: str, packet: Packet) -> None:
        """The packet reached a socket."""
        self._record(Record(now, Kind.DELIVERED, where, packet, None))

    def dropped(self, now: Instant, where: str, packet: Packet, reason: Drop) -> None:
        """The packet ends here."""
        key = (where, reason)
        self.drops[key] = self.drops.get(key, 0) + 1
        self._record(Record(now, Kind.DROPPED, where, packet, reason))

    def linked(
        self,
        now: Instant,
        kind: LinkKind,
        hosts: tuple[str, str],
        addresses: tuple[SocketAddr, SocketAddr],
        payload: bytes,
    ) -> None:
        """Something has come through a pipe."""
        self.links.append(LinkRecord(now, kind, hosts, addresses, payload))
        self.link_counts[kind] += 1
        src, dst = addresses
        self._note(
            f"{now!r} link {kind} {hosts[0]} {hosts[1]} {src[0]} {src[1]} {dst[0]} {dst[1]} "
            f"{len(payload)} {zlib.crc32(payload)}\n"
        )

    def drop_count(self, reason: Drop, where: str | None = None) -> int:
        """Returns how many packets ended for this reason, at one part or anywhere."""
        if where is not None:
            return self.drops.get((where, reason), 0)
        return sum(count for (_, why), count in self.drops.items() if why is reason)

    def digest(self) -> str:
        """Returns a hash of everything recorded so far, forgotten records included."""
        self._hash_pending()
        return self._hash.hexdigest()

    def _record(self, record: Record) -> None:
        at, kind, where, (number, src, dst, ecn, ttl, payload), reason = record
        self.records.append(record)
        self.counts[kind] += 1
        self._note(
            f"{at!r} {kind} {where} {reason} {number} {src[0]} {src[1]} {dst[0]} {dst[1]} "
            f"{ecn} {ttl} {len(payload)} {zlib.crc32(payload)}\n"
        )

    def _note(self, line: str) -> None:
        self._unhashed.append(line)
        if len(self._unhashed) >= DIGEST_CHUNK:
            self._hash_pending()

    def _hash_pending(self) -> None:
        self._hash.update("".join(self._unhashed).encode())
        self._unhashed.clear()
