"""What a node learned, kept over a restart: between the swarm's facts and the store's records.

Rules: what an event reports is committed before the event is told to anybody; what was stored is
history: good for dials, and as evidence only in the network that it is from, until there is fresh.
"""

from collections.abc import Iterator
from typing import Final

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant, UnixTime
from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.store.records import (
    MAX_TEXT_SIZE,
    PEER_RECORDS,
    WRITTEN,
    AddressRecord,
    ClockRecord,
    EvidenceRecord,
    Loaded,
    Record,
    RelayRecord,
    SequenceRecord,
    TokenRecord,
    VolumeRecord,
)
from p2pnode.io.store.store import Store
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.autonat import Evidence, Prober, Verdict
from p2pnode.protocols.relay import relay_network
from p2pnode.swarm import Swarm, events
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.transports.noise_udp.token import ADDRESS_LIFETIME
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr

VOLUME_INTERVAL: Final = 60.0
"""seconds between two notes of the relayed volume; chosen: a crash forgets a minute of it"""
MAX_NOTED: Final = 1024
"""records that are not written again while nothing in them changes; chosen: 200 kB"""
REMEMBERED: Final = (
    events.ConnectionEstablished,
    events.PathChanged,
    events.PeerIdentified,
    events.ReservationsChanged,
    events.ReachabilityChanged,
    events.RecordSigned,
)
"""What `note` finds something in; the others need not be shown to it."""


class Memory:
    """Belongs to one node.  Never raises: a store that fails stores nothing."""

    def __init__(self, store: Store, fingerprint: str, *, now: Instant, unix_now: UnixTime) -> None:
        """`fingerprint` is the network's."""
        self._store = store
        self.fingerprint = fingerprint
        self._unix_offset = unix_now - now
        self._noted = Bounded[Record, None](MAX_NOTED)
        self._volumes: dict[str, int] = {}
        """The relayed volumes as they are stored."""

    def load(self, unix_now: UnixTime) -> Loaded:
        """Returns what was stored and has not expired."""
        return self._store.load(unix_now, self.fingerprint)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: what is stored already keeps the time that it has left."""
        step = unix_now - now - self._unix_offset
        self._unix_offset += step
        self._noted.clear()
        self._store.handle_clock_changed(step)

    def restore(self, loaded: Loaded, swarm: Swarm, now: Instant) -> None:
        """Gives a swarm what was stored: addresses, tokens, relays to ask again."""
        if self._store.is_new:
            swarm.has_no_past()
        for record in loaded.addresses:
            parsed = _parsed(record)
            if parsed is not None:
                peer_id, address, source = parsed
                expires_at = record.expires_unix - self._unix_offset
                swarm.remember_address(peer_id, address, source, expires_at)
        for piece in loaded.evidence:
            found = _evidence_of(piece, self._unix_offset)
            if found is not None:
                swarm.remember_evidence(*found, now)
        for token in loaded.tokens:
            given_at = _address(token.address)
            if given_at is not None:
                swarm.remember_token(given_at, token.token)
        for relay in loaded.relays:
            relay_id = _peer_id(relay.peer)
            if relay_id is not None and swarm.facts.known_addresses(relay_id, now):
                swarm.remember_relay(relay_id, relay.network, relay.rtt, now)

    def note(self, event: SwarmEvent, facts: SwarmFacts, now: Instant) -> None:
        """Commits what an event is about to report."""
        records = [r for r in self._records(event, facts, now) if r not in self._noted]
        if not records:
            return
        if self._store.write([*records, self._clock(now)]):
            self._noted.update(dict.fromkeys(records))

    def note_volume(self, facts: SwarmFacts, now: Instant) -> None:
        """Commits how much was relayed this month."""
        months = facts.relayed_months()
        changed = [VolumeRecord(*m) for m in months.items() if self._volumes.get(m[0], 0) != m[1]]
        if changed and self._store.write([*changed, self._clock(now)]):
            self._volumes = months

    def _records(self, event: SwarmEvent, facts: SwarmFacts, now: Instant) -> Iterator[Record]:
        match event:
            case events.ConnectionEstablished(_, peer_id) | events.PathChanged(_, peer_id):
                yield from self._addresses(peer_id, facts, now)
            case events.PeerIdentified(connection, info):
                yield from self._addresses(info.peer_id, facts, now)
                yield from self._token(connection, facts, now)
            case events.ReservationsChanged(relays):
                for relay in relays:
                    yield from self._addresses(relay, facts, now)
                    yield from self._relay(relay, facts, now)
            case events.ReachabilityChanged(_, verdicts):
                for address, verdict in verdicts:
                    yield from self._evidence(address, verdict)
            case events.RecordSigned(seq):
                yield SequenceRecord(PEER_RECORDS, seq)
            case _:
                pass

    def _clock(self, now: Instant) -> ClockRecord:
        return ClockRecord(WRITTEN, now + self._unix_offset)

    def _addresses(self, peer_id: PeerId, facts: SwarmFacts, now: Instant) -> Iterator[Record]:
        for entry in facts.book_entries(peer_id, now):
            if entry.source is not AddressSource.HEARSAY:
                yield AddressRecord(
                    str(peer_id),
                    str(entry.address),
                    int(entry.source),
                    round(entry.expires_at + self._unix_offset, 0),
                )

    def _token(
        self, connection: ConnectionHandle, facts: SwarmFacts, now: Instant
    ) -> Iterator[Record]:
        peer = facts.peer(connection)
        token = None if peer is None else facts.token(peer.address)
        if peer is not None and token is not None:
            expires = round(now + self._unix_offset + ADDRESS_LIFETIME, 0)
            yield TokenRecord(str(peer.address), token, expires)

    def _relay(self, relay: PeerId, facts: SwarmFacts, now: Instant) -> Iterator[Record]:
        connection = facts.direct(relay)
        peer = None if connection is None else facts.peer(connection)
        if peer is not None:
            unix_now = round(now + self._unix_offset, 0)
            network = relay_network(peer.route.remote.ip)
            rtt = facts.rtt(peer.connection)
            yield RelayRecord(str(relay), network, rtt, unix_now, None, unix_now)

    def _evidence(self, address: Multiaddr, verdict: Verdict) -> Iterator[Record]:
        for piece in verdict.evidence:
            yield EvidenceRecord(
                self.fingerprint,
                str(address),
                piece.witness,
                piece.prober.name,
                piece.server,
                piece.is_heard,
                piece.detail.encode()[:MAX_TEXT_SIZE].decode(errors="ignore"),
                round(piece.at + self._unix_offset, 3),
            )


def _parsed(record: AddressRecord) -> tuple[PeerId, Multiaddr, AddressSource] | None:
    """Returns the parts of a stored address, or None where it is none: files can be edited."""
    try:
        return (
            PeerId.parse(record.peer),
            parse_multiaddr(record.address),
            AddressSource(record.source),
        )
    except (P2PNodeError, ValueError):
        return None


def _address(text: str) -> Multiaddr | None:
    try:
        return parse_multiaddr(text)
    except P2PNodeError:
        return None


def _evidence_of(record: EvidenceRecord, unix_offset: float) -> tuple[Multiaddr, Evidence] | None:
    try:
        return parse_multiaddr(record.address), Evidence(
            record.at_unix - unix_offset,
            record.is_heard,
            Prober[record.prober],
            record.witness,
            record.server,
            record.detail,
        )
    except (P2PNodeError, KeyError):
        return None


def _peer_id(text: str) -> PeerId | None:
    try:
        return PeerId.parse(text)
    except P2PNodeError:
        return None
