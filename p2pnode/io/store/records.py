"""What a node keeps over a restart, as plain values (specs/store.md).

Rules: times are Unix times, because a monotonic clock begins anew, and columns that hold one end
in `_unix`; texts and bytes are bounded and every table has its rows counted, so that peers cannot
fill a disk; what expires is known for each kind.
"""

import hashlib
import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, get_type_hints

from p2pnode.clock import UnixTime
from p2pnode.protocols.autonat.reachability import EVIDENCE_LIFETIME
from p2pnode.protocols.relay.accounting import MAX_MONTHS
from p2pnode.swarm.address_book import LIFETIMES
from p2pnode.transports.noise_udp.frame import MAX_TOKEN_SIZE
from p2pnode.transports.noise_udp.token import ADDRESS_LIFETIME

MAX_ADDRESS_ROWS: Final = 16_384
"""rows; chosen: four for each of the 4096 peers of the address book, 5 MB"""
MAX_RELAY_ROWS: Final = 256
"""rows; chosen: a dozen times the candidates that auto-relay looks at"""
MAX_EVIDENCE_ROWS: Final = 1024
"""rows; chosen: ten pieces (five a prober kind) for each of a hundred own addresses"""
MAX_TOKEN_ROWS: Final = 256
"""rows; as many as the swarm holds"""
MAX_VOLUME_ROWS: Final = MAX_MONTHS
"""rows; as many months as the relay remembers"""
MAX_SEQUENCE_ROWS: Final = 4
"""rows; chosen: there is one"""
TRIM_PART: Final = 8
"""A table is cut back to its bound when it is an eighth over; chosen: counting costs time"""
MAX_TEXT_SIZE: Final = 512
"""bytes of UTF-8; chosen: a multiaddr through a relay takes a third of it"""
RELAY_LIFETIME: Final = 7 * 24 * 3600.0
"""seconds since it was last seen; chosen: a week's holiday"""
CLOCK_SLACK: Final = 60.0
"""seconds that a time may lie too far ahead; chosen: clocks are set a little back now and then"""
MAX_OFF_TIME: Final = 30 * 24 * 3600.0
"""seconds for which a node is believed to have been off; chosen: longer than anything counts for,
and a clock that says more was wrong, then or now"""
PEER_RECORDS: Final = "peer records"
"""The sequence of this node's own signed records."""
WRITTEN: Final = "written"
FINGERPRINT_SIZE: Final = 16
"""hexadecimal digits; chosen: chance must not make two networks equal, nobody attacks it"""
IPV6_LINK_PREFIX: Final = 64
"""bits; the rest changes daily where addresses are private (RFC 8981)"""


class AddressRecord(NamedTuple):
    """Where a peer may be reached."""

    peer: str
    address: str
    """A multiaddr without the peer's own /p2p."""
    source: int
    """The value of an `AddressSource`."""
    expires_unix: float


class RelayRecord(NamedTuple):
    """What is known of a relay."""

    peer: str
    network: str
    """As `AutoRelay.add_candidate` takes it."""
    rtt: float | None
    """seconds"""
    granted_unix: float | None
    """When it last granted a reservation."""
    failed_unix: float | None
    """When it last failed."""
    seen_unix: float


class EvidenceRecord(NamedTuple):
    """What one AutoNAT probe of one own address said; `autonat.Evidence` with its network."""

    fingerprint: str
    """Of the network that this node was in: `network_fingerprint`."""
    address: str
    witness: str
    prober: str
    """The name of a `Prober`."""
    server: str
    is_heard: bool
    detail: str
    at_unix: float


class TokenRecord(NamedTuple):
    """Another peer's address token: proof that we receive where we said."""

    address: str
    """The peer's, a multiaddr without /p2p."""
    token: bytes
    expires_unix: float


class VolumeRecord(NamedTuple):
    """Bytes relayed in a calendar month (UTC)."""

    month: str
    """As 2026-11."""
    used: int


class SequenceRecord(NamedTuple):
    """The last number of a sequence that must not begin anew."""

    name: str
    """`PEER_RECORDS` is the only one."""
    value: int


class ClockRecord(NamedTuple):
    """What the wall clock said when something was written last: all times are on its time line."""

    name: str
    """Always `WRITTEN`."""
    written_unix: float


Record: TypeAlias = (
    AddressRecord
    | RelayRecord
    | EvidenceRecord
    | TokenRecord
    | VolumeRecord
    | SequenceRecord
    | ClockRecord
)


class Loaded(NamedTuple):
    """What was stored and still counts; in each list what was renewed last comes last."""

    addresses: tuple[AddressRecord, ...] = ()
    relays: tuple[RelayRecord, ...] = ()
    evidence: tuple[EvidenceRecord, ...] = ()
    tokens: tuple[TokenRecord, ...] = ()
    volumes: tuple[VolumeRecord, ...] = ()
    sequences: tuple[SequenceRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How one kind of record is kept."""

    record: type[Record]
    name: str
    key: tuple[str, ...]
    max_rows: int
    time: str | None = None
    """The column by which it expires."""
    counts_for: float = 0.0
    """Seconds for which a row counts after `time`."""
    lies_ahead: float = 0.0
    """Seconds that `time` may lie in the future."""
    least_first: str = "rowid"
    """The order in which rows go when there are too many."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.record._fields

    @property
    def times(self) -> tuple[str, ...]:
        """The columns that hold Unix times."""
        return tuple(column for column in self.columns if column.endswith("_unix"))

    @property
    def is_of_network(self) -> bool:
        """True where a row counts only in the network that it was learned in."""
        return "fingerprint" in self.columns

    def oldest(self, now_unix: UnixTime) -> float:
        """Returns the time up to which rows do not count any more."""
        return now_unix - self.counts_for


TABLES: Final = (
    Table(
        record=AddressRecord,
        name="address",
        key=("peer", "address"),
        max_rows=MAX_ADDRESS_ROWS,
        time="expires_unix",
        lies_ahead=max(LIFETIMES.values()),
        least_first="expires_unix, rowid",
    ),
    Table(
        record=RelayRecord,
        name="relay",
        key=("peer",),
        max_rows=MAX_RELAY_ROWS,
        time="seen_unix",
        counts_for=RELAY_LIFETIME,
    ),
    Table(
        record=EvidenceRecord,
        name="evidence",
        key=("fingerprint", "address", "witness", "prober"),
        max_rows=MAX_EVIDENCE_ROWS,
        time="at_unix",
        counts_for=EVIDENCE_LIFETIME,
    ),
    Table(
        record=TokenRecord,
        name="token",
        key=("address",),
        max_rows=MAX_TOKEN_ROWS,
        time="expires_unix",
        lies_ahead=ADDRESS_LIFETIME,
    ),
    Table(record=VolumeRecord, name="volume", key=("month",), max_rows=MAX_VOLUME_ROWS),
    Table(record=SequenceRecord, name="sequence", key=("name",), max_rows=MAX_SEQUENCE_ROWS),
    Table(record=ClockRecord, name="clock", key=("name",), max_rows=1),
)
TABLE_OF: Final[dict[type, Table]] = {table.record: table for table in TABLES}

_OPTIONAL_FLOAT: Final = float | None
_HINTS: Final[dict[type, tuple[object, ...]]] = {
    table.record: tuple(get_type_hints(table.record).values()) for table in TABLES
}


def is_storable(record: Record) -> bool:
    """True where every field is of its type and within its bounds; peers have a say in some."""
    return all(map(_is_value, record, _HINTS[type(record)]))


def decode_row(table: Table, row: tuple[object, ...]) -> Record | None:
    """Returns the record, or None where somebody has written into the file what is none."""
    hints = _HINTS[table.record]
    values = [
        bool(value) if hint is bool and value in (0, 1) else value
        for value, hint in zip(row, hints, strict=True)
    ]
    if not all(map(_is_value, values, hints)):
        return None
    make: Any = table.record
    record: Record = make(*values)
    return record


def network_fingerprint(interface_ips: Iterable[str]) -> str:
    """Returns a text that is equal where the machine has the addresses that it had.

    Loopback does not count, and of an IPv6 address only the link's prefix does.  Equal prints do
    not prove one network (half of all home routers hand out the same addresses); different ones
    prove another.
    """
    links: set[str] = set()
    for ip in interface_ips:
        address = ipaddress.ip_address(ip)
        if isinstance(address, ipaddress.IPv4Address):
            link = str(address)
        else:
            link = str(ipaddress.IPv6Network((address, IPV6_LINK_PREFIX), strict=False))
        if not address.is_loopback:
            links.add(link)
    return hashlib.sha256(" ".join(sorted(links)).encode()).hexdigest()[:FINGERPRINT_SIZE]


def _is_value(value: object, hint: object) -> bool:
    match value:
        case None:
            return hint == _OPTIONAL_FLOAT
        case bool():
            return hint is bool
        case str():
            return hint is str and _is_text(value)
        case bytes():
            return hint is bytes and len(value) <= MAX_TOKEN_SIZE
        case int():
            return hint in (int, float, _OPTIONAL_FLOAT) and -(2**63) <= value < 2**63
        case float():
            return hint in (float, _OPTIONAL_FLOAT) and math.isfinite(value)
        case _:
            return False


def _is_text(value: str) -> bool:
    if len(value) > MAX_TEXT_SIZE:
        return False
    try:
        return len(value.encode()) <= MAX_TEXT_SIZE
    except UnicodeEncodeError:
        return False
