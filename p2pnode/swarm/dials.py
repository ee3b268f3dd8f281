"""All dials of a swarm: which address to try, what became of it, and when a dial is over.

A dial of a bare peer id whose addresses nobody has told asks two questions at once: other peers,
where it is; and the peers that are connected, whether they relay to it.
"""

from collections.abc import Sequence
from typing import Final

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.errors import DialError, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import ConnectionHandle
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.dial_candidates import (
    candidate_of,
    candidate_or_none,
    peer_address,
    through,
    without_peer,
)
from p2pnode.swarm.dialer import DialCandidate, PeerDial, RelayedCandidate
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.requests import FindPeer, RequestCircuit, ServiceRequest
from p2pnode.transports.registry import Transports
from p2pnode.transports.route import Route
from p2pnode.wire.ip_ranges import IpScope, ip_scope, owner_group
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

MAX_DIALS: Final = 256
"""Peers dialled at a time; chosen: more would be a scan"""
HEARSAY_DIALS: Final = 6
"""handshakes in HEARSAY_WINDOW with one IPv4 address or IPv6 /56 that only others have named;
chosen: some thirty packets, what a dial of a real peer with two addresses may take"""
HEARSAY_WINDOW: Final = 60.0
"""seconds"""
_PREFERRED: Final = TransportName.NOISE_UDP
"""what a peer is asked for circuits by, and moves by: where a packet was lost, and something else
was quicker, it is worth another connection"""
MAX_SPECULATIVE_RELAYS: Final = 3
"""connected peers that are asked for a circuit before anybody has told where the peer is; chosen"""


class Dials:
    """Dials by id, handshakes by handle."""

    def __init__(
        self,
        own_id: PeerId,
        transports: Transports,
        addresses: OwnAddresses,
        book: AddressBook,
        facts: SwarmFacts,
        requests: list[ServiceRequest],
    ) -> None:
        """`requests` takes what services are asked for."""
        self._own_id = own_id
        self._transports = transports
        self._addresses = addresses
        self._book = book
        self._facts = facts
        self._requests = requests
        self._dials: dict[int, PeerDial] = {}
        self._dial_of: dict[ConnectionHandle, int] = {}
        """handshake handle -> dial id"""
        self._left: dict[ConnectionHandle, DialCandidate] = {}
        """handshakes that go on though their dial has succeeded by another transport"""
        self._hearsay = KeyedRateLimit[str](HEARSAY_DIALS, HEARSAY_WINDOW)
        self._silent: dict[int, None] = {}
        """dials that nobody waits for any more, but others of the same peer"""
        self.ended: dict[PeerId, None] = {}
        """peers of dials that are over, since `poll_ended`; looked at after every packet"""
        self._next_dial_id = 1
        self.outcomes: list[SwarmEvent] = []

    # commands

    def begin(
        self,
        peer_id: PeerId | None,
        addresses: Sequence[Multiaddr],
        connected: ConnectionHandle | None,
        now: Instant,
        *,
        is_direct_only: bool = False,
    ) -> int:
        """Dials a peer, or says that it is connected; returns the dial's id.

        `is_direct_only`: no relay is asked, and nobody where the peer is; no user waits for it.

        Raises DialError where there is nothing to dial, AddressError for what cannot be used.
        """
        if peer_id == self._own_id:
            raise DialError("that is this node itself")
        if len(self._dials) >= MAX_DIALS:
            raise DialError("this node dials as many peers as it may already")
        dial_id = self._next_dial_id
        self._next_dial_id += 1
        if connected is not None and peer_id is not None:
            self.outcomes.append(events.DialSucceeded(dial_id, connected, peer_id))
            return dial_id
        transports = self._transports.names
        candidates = [candidate_of(address, transports) for address in addresses]
        if peer_id is not None:
            if addresses:
                self._book.add(peer_id, without_peer(addresses), AddressSource.USER, now)
            known = self._book.addresses(peer_id, now)
            candidates += [c for a in known if (c := candidate_or_none(a, transports)) is not None]
        if is_direct_only:
            candidates = [c for c in candidates if isinstance(c, DialCandidate)]
        others = [d for d in self._dials.values() if peer_id is not None and d.peer_id == peer_id]
        other = others[-1] if others else None
        dial = PeerDial(
            dial_id, peer_id, candidates, now, follows=other, is_direct_only=is_direct_only
        )
        dial.has_searched = any(not d.is_direct_only for d in others) or is_direct_only
        if not candidates and other is None:
            if peer_id is None or is_direct_only:
                raise DialError("no address is known for that peer; give a full address")
            self._search(dial, peer_id, now)
        self._dials[dial_id] = dial
        self.poll(now)
        return dial_id

    def cancel(self, dial_id: int) -> None:
        """Forgets a dial; nothing is reported."""
        dial = self._dials.get(dial_id)
        if dial is None:
            return
        if any(other.follows is dial for other in self._dials.values()):
            self._silent[dial_id] = None
            return
        self._forget(dial)

    def cancel_all(self) -> None:
        for dial in self._dials.values():
            self._drop_handshakes(dial)
        for handle in self._left:
            self._transports.cancel_dial(handle)
        self._left.clear()
        self._dials.clear()
        self._silent.clear()

    # what happens

    def on_connected(self, peer: Peer, now: Instant) -> None:
        """Somebody is connected: by a handshake of ours, by one of its own, or as a helper."""
        dial = self._dials.get(self._dial_of.pop(peer.connection, -1))
        left = self._left.pop(peer.connection, None)
        candidate = left if dial is None else dial.take(peer.connection)
        if candidate is not None:
            address = without_peer((candidate.address,))
            self._book.add(peer.peer_id, address, AddressSource.CONNECTED, now)
        if dial is not None:
            self._succeed(dial, peer, now)
        for other in list(self._dials.values()):
            if other.peer_id == peer.peer_id:
                if not (other.is_direct_only and peer.route.is_relayed):
                    self._succeed(other, peer, now)
            elif other.is_searching and other.peer_id is not None and not peer.route.is_relayed:
                other.add([through(peer, other.peer_id)], now)
        self.poll(now)

    def on_dial_failed(self, handle: ConnectionHandle, reason: P2PNodeError, now: Instant) -> None:
        dial = self._dials.get(self._dial_of.pop(handle, -1))
        self._left.pop(handle, None)
        if dial is not None:
            dial.on_failure(handle, reason, now)
            self.poll(now)

    def on_circuit(self, peer_id: PeerId, relay: PeerId, route: Route, now: Instant) -> bool:
        """A circuit to a peer stands; returns whether a dial goes on through it."""
        used = False
        for dial in self._dials.values():
            if not used and dial.peer_id == peer_id:
                candidate = dial.take_circuit(relay)
                used = candidate is not None and self._handshake(dial, candidate, route, now)
        if not used:
            self.poll(now)
        return used

    def is_dialling(self, peer_id: PeerId) -> bool:
        """Whether some dial of that peer is under way."""
        return any(dial.peer_id == peer_id for dial in self._dials.values())

    def on_circuit_failed(self, peer_id: PeerId, relay: PeerId, reason: str, now: Instant) -> None:
        for dial in self._dials.values():
            if dial.peer_id == peer_id:
                dial.on_refused(relay, DialError(reason), now)
        self.poll(now)

    def on_found(self, peer_id: PeerId, addresses: Sequence[Multiaddr], now: Instant) -> None:
        """Others know where a peer is."""
        for dial in self._dials.values():
            if dial.peer_id == peer_id:
                dial.is_searching = False
                found = (candidate_or_none(a, self._transports.names) for a in addresses)
                dial.add([c for c in found if c is not None], now)
        self.poll(now)

    def on_not_found(self, peer_id: PeerId, reason: str, now: Instant) -> None:
        for dial in self._dials.values():
            if dial.peer_id == peer_id and dial.is_searching:
                dial.is_searching = False
                dial.attempts.append((peer_address(peer_id), DialError(reason)))
        self.poll(now)

    # time

    def poll(self, now: Instant) -> None:
        """Starts what is due, and ends the dials that have nothing left to try."""
        for dial in list(self._dials.values()):
            if dial.search_at is not None and now >= dial.search_at and dial.peer_id is not None:
                self._search(dial, dial.peer_id, now)
            self._start_due(dial, now)
            if dial.is_over and self._may_search(dial) and dial.peer_id is not None:
                self._search(dial, dial.peer_id, now)
                self._start_due(dial, now)
            if dial.is_over and not self._may_appear(dial, now):
                self._forget(dial)
                self._end(dial, events.DialFailed(dial.dial_id, dial.all_attempts), now)

    def poll_timeout(self) -> Deadline | None:
        if not self._dials:
            return None  # asked after every packet
        return earliest(*(dial.poll_timeout() for dial in self._dials.values()))

    def poll_outcomes(self) -> list[SwarmEvent]:
        """Returns what became of dials, and of their tries, since the last call."""
        found, self.outcomes = self.outcomes, []
        return found

    def poll_ended(self) -> tuple[PeerId, ...]:
        """Returns the peers of dials that have ended, or were cancelled, since the last call."""
        ended, self.ended = self.ended, {}
        return tuple(ended)

    # details

    def _search(self, dial: PeerDial, peer_id: PeerId, now: Instant) -> None:
        dial.is_searching = dial.has_searched = True
        dial.search_at = None
        neighbours = (each for each in self._facts.neighbours() if not each.route.is_relayed)
        near = list({each.peer_id: each for each in neighbours}.values())
        dial.add([through(each, peer_id) for each in near[:MAX_SPECULATIVE_RELAYS]], now)
        self._requests.append(FindPeer(peer_id))

    def _may_search(self, dial: PeerDial) -> bool:
        """Whether others can say more of a peer whose addresses have failed."""
        others = any(other.peer_id != dial.peer_id for other in self._dials.values())
        return not dial.has_searched and (others or bool(self._facts.neighbours()))

    def _may_appear(self, dial: PeerDial, now: Instant) -> bool:
        """Whether the dial waits for a peer that nobody knows yet, and looks for it again."""
        can_ask = (
            dial.peer_id is not None and not dial.is_direct_only and bool(self._facts.neighbours())
        )
        return can_ask and dial.wait_for_peer(now)

    def _start_due(self, dial: PeerDial, now: Instant) -> None:
        for candidate in dial.poll_start(now):
            self._start(dial, candidate, now)

    def _start(
        self, dial: PeerDial, candidate: DialCandidate | RelayedCandidate, now: Instant
    ) -> None:
        match candidate:
            case RelayedCandidate(_, relay, relay_address):
                if dial.peer_id is None:
                    error = DialError("a peer behind a relay is dialled by its id: end with /p2p/")
                    dial.failed(candidate, error, now)
                    return
                dial.asked(candidate)
                self._requests.append(RequestCircuit(dial.peer_id, relay, (relay_address,)))
            case DialCandidate(_, remote, transport):
                try:
                    socket = self._addresses.leaving_for(remote, transport)
                except DialError as error:
                    dial.failed(candidate, error, now)
                    return
                if dial.is_direct_only and remote.ip in self._facts.ips_to_avoid(now):
                    dial.skipped(candidate, DialError("a stranger is about to knock there"), now)
                    return
                if not self._may_try(dial, candidate, now):
                    reason = DialError("that network was dialled by hearsay too often of late")
                    dial.skipped(candidate, reason, now)
                    return
                self._handshake(dial, candidate, Route(socket, None, remote), now, transport)

    def _may_try(self, dial: PeerDial, candidate: DialCandidate, now: Instant) -> bool:
        """What others say of a peer's address may be aimed at somebody who is no peer at all."""
        ip = candidate.remote.ip
        if dial.peer_id is None or ip_scope(ip) is IpScope.LOOPBACK:
            return True
        (bare,) = without_peer((candidate.address,))
        known = {entry.address: entry.source for entry in self._book.entries(dial.peer_id, now)}
        if known.get(bare, AddressSource.HEARSAY) >= AddressSource.USER:
            return True
        return self._hearsay.take(owner_group(ip), now)

    def _handshake(
        self,
        dial: PeerDial,
        candidate: DialCandidate | RelayedCandidate,
        route: Route,
        now: Instant,
        transport: TransportName | None = None,
    ) -> bool:
        """Without `transport`, by what runs through circuits."""
        at = None if transport is None else transport_multiaddr(route.remote, transport)
        token = b"" if at is None else self._book.token(at) or b""
        try:
            handle = self._transports.dial(
                route, dial.peer_id, now, transport=transport, token=token
            )
        except DialError as error:
            dial.failed(candidate, error, now)
            return False
        dial.started(handle, candidate)
        self._dial_of[handle] = dial.dial_id
        return True

    def _succeed(self, dial: PeerDial, peer: Peer, now: Instant) -> None:
        if dial.peer_id is not None and peer.transport is not _PREFERRED:
            for handle, candidate in dial.take_direct(_PREFERRED).items():
                del self._dial_of[handle]
                self._left[handle] = candidate
        self._forget(dial)
        event = events.DialSucceeded(dial.dial_id, peer.connection, peer.peer_id)
        self._end(dial, event, now)

    def _end(
        self, dial: PeerDial, event: events.DialSucceeded | events.DialFailed, now: Instant
    ) -> None:
        is_success = isinstance(event, events.DialSucceeded)
        self.outcomes.append(
            events.DialEnded(is_success, now - dial.began_at, dial.tried, tuple(dial.attempts))
        )
        if event.dial_id in self._silent:
            del self._silent[event.dial_id]
        else:
            self.outcomes.append(event)

    def _forget(self, dial: PeerDial) -> None:
        self._drop_handshakes(dial)
        dial.stop()
        if self._dials.pop(dial.dial_id, None) is not None and dial.peer_id is not None:
            self.ended[dial.peer_id] = None

    def _drop_handshakes(self, dial: PeerDial) -> None:
        for handle in dial.handles:
            self._dial_of.pop(handle, None)
            self._transports.cancel_dial(handle)
