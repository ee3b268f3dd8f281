"""Dialling a peer: its addresses raced with a head start for the better ones (RFC 8305).

    over UDP             one after the other, HEAD_START apart
    over TCP             the same, HEAD_START after the first over UDP, at once where none is left
    through relays       HEAD_START after the first direct one, at once where there is none
    a search             adds addresses while it goes on; the dial is not over before it is

    another search       where nobody knew the peer: it may be starting just now

The rule: the first authenticated answer wins, the others are given up; every failure is kept and
told, nothing is swallowed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import Carrier, TransportName

HEAD_START: Final = 0.25
"""seconds between the starts of two addresses; RFC 8305 section 8"""
MAX_CONCURRENT: Final = 8
"""addresses of one peer under way at a time; go-libp2p"""
MAX_ADDRESSES: Final = 32
"""addresses tried in one dial; chosen: as many as the address book keeps"""
MAX_RELAYS: Final = 4
"""relays asked for a circuit in one dial; chosen: twice as many as a peer has"""

FIRST_SEARCH_PAUSE: Final = 0.5
"""seconds before a peer that nobody knew is looked for again, then twice as long each time;
chosen"""
MORE_SEARCHES: Final = 3
"""chosen: 3.5 s in all; a node that starts has met a peer, and has its relay, in about 2 s"""


class DialCandidate(NamedTuple):
    """An address to try directly."""

    address: Multiaddr
    remote: SocketAddr
    transport: TransportName


class RelayedCandidate(NamedTuple):
    """A relay to ask for a circuit to the peer."""

    address: Multiaddr
    relay: PeerId
    relay_address: Multiaddr


class _Lane:
    """The addresses of one carrier, which wait for one another and not for the other carrier's."""

    __slots__ = ("begins_at", "next_at", "waiting")

    def __init__(self, now: Instant) -> None:
        self.waiting: list[DialCandidate] = []
        """The best one first."""
        self.begins_at = now
        """Before, none of them starts."""
        self.next_at = now

    @property
    def due_at(self) -> Instant:
        """When the next one starts; never where there is none."""
        return max(self.begins_at, self.next_at) if self.waiting else inf


class PeerDial:
    """One dial of one peer.  It says what to start; the swarm tells it what became of that."""

    def __init__(
        self,
        dial_id: int,
        peer_id: PeerId | None,
        candidates: Iterable[DialCandidate | RelayedCandidate],
        now: Instant,
        *,
        follows: "PeerDial | None" = None,
        is_direct_only: bool = False,
    ) -> None:
        """`follows` is a dial of the same peer: what that one tries, this one waits for."""
        self.dial_id = dial_id
        self.peer_id = peer_id
        self.is_searching = False
        """Other peers are being asked where the peer is."""
        self.has_searched = False
        self.search_at: Instant | None = None
        """When others are asked once more where the peer is."""
        self._pauses: Iterator[float] = _search_pauses()
        if follows is not None and not follows.is_direct_only:
            self._pauses = follows._pauses  # together they search no longer than one
        self._has_tried_udp = False
        self._has_met = False
        """A handshake of this dial has begun: somebody did know an address."""
        self.is_direct_only: bool = is_direct_only
        """No relay is asked, and relays that others ask are not waited for."""
        self.follows = follows
        self._known: dict[tuple[SocketAddr, TransportName] | PeerId, Multiaddr] = (
            {} if follows is None else dict(follows._known)
        )
        self._lanes: dict[Carrier, _Lane] = {"udp": _Lane(now), "tcp": _Lane(now)}
        self._relays: list[RelayedCandidate] = []
        self._asked: dict[PeerId, RelayedCandidate] = {}
        self._under_way: dict[ConnectionHandle, DialCandidate | RelayedCandidate] = {}
        self.began_at = now
        self.tried = 0
        """Addresses, and relays that were asked."""
        self._relays_at = now
        self.attempts: list[tuple[Multiaddr, P2PNodeError]] = []
        self.add(candidates, now)

    def add(self, candidates: Iterable[DialCandidate | RelayedCandidate], now: Instant) -> None:
        """Learns of more addresses; those that are known already change nothing."""
        for candidate in candidates:
            if len(self._known) >= MAX_ADDRESSES:
                break
            match candidate:
                case RelayedCandidate() if self.is_direct_only or candidate.relay == self.peer_id:
                    continue  # who relays to itself would be waited for by its own dial
                case DialCandidate(address, remote, transport):
                    if (remote, transport) not in self._known:
                        self._known[remote, transport] = address
                        self._lanes[transport.carrier].waiting.append(candidate)
                case RelayedCandidate(address, relay):
                    if relay not in self._known:
                        self._known[relay] = address
                        self._relays.append(candidate)
        for lane in self._lanes.values():
            lane.waiting = _in_order(lane.waiting)
        if self._is_any_waiting and not self._under_way:
            self._relays_at = max(self._relays_at, now + HEAD_START)

    def poll_start(self, now: Instant) -> Iterator[DialCandidate | RelayedCandidate]:
        """Yields what to start now; each must be answered by `started`, `asked` or `failed`."""
        over_udp, over_tcp = self._lanes["udp"], self._lanes["tcp"]
        while len(self._under_way) < MAX_CONCURRENT:
            if now >= over_udp.due_at:
                lane = over_udp
                if not self._has_tried_udp:
                    self._has_tried_udp = True
                    over_tcp.begins_at = now + HEAD_START
            else:
                if not over_udp.waiting and not self._is_under_way("udp"):
                    over_tcp.begins_at = min(over_tcp.begins_at, now)
                if now < over_tcp.due_at:
                    break
                lane = over_tcp
            lane.next_at = now + HEAD_START
            yield lane.waiting.pop(0)
        if not self._is_any_waiting and not self._under_way:
            self._relays_at = min(self._relays_at, now)
        while self._relays and now >= self._relays_at and len(self._asked) < MAX_RELAYS:
            yield self._relays.pop(0)

    def started(
        self, handle: ConnectionHandle, candidate: DialCandidate | RelayedCandidate
    ) -> None:
        """A handshake has begun."""
        self._has_met = True
        if isinstance(candidate, DialCandidate):
            self.tried += 1
        self._under_way[handle] = candidate

    def asked(self, candidate: RelayedCandidate) -> None:
        """A relay is asked for a circuit; `take_circuit` or `on_refused` follows."""
        self.tried += 1
        self._asked[candidate.relay] = candidate

    def take_circuit(self, relay: PeerId) -> RelayedCandidate | None:
        """Returns the candidate that a circuit was asked for by, and forgets it."""
        return self._asked.pop(relay, None)

    def on_refused(self, relay: PeerId, reason: P2PNodeError, now: Instant) -> None:
        """A relay gives no circuit."""
        candidate = self._asked.pop(relay, None)
        if candidate is not None:
            self.attempts.append((candidate.address, reason))

    def failed(
        self, candidate: DialCandidate | RelayedCandidate, reason: P2PNodeError, now: Instant
    ) -> None:
        """An address did not even start, or gave up: the next one need not wait."""
        self.attempts.append((candidate.address, reason))
        if isinstance(candidate, DialCandidate):
            self._lanes[candidate.transport.carrier].next_at = now

    def skipped(self, candidate: DialCandidate, reason: P2PNodeError, now: Instant) -> None:
        """An address is not tried by this dial; others that follow it may."""
        del self._known[candidate.remote, candidate.transport]
        self.failed(candidate, reason, now)

    def on_failure(self, handle: ConnectionHandle, reason: P2PNodeError, now: Instant) -> None:
        """A handshake of this dial has failed."""
        self.failed(self._under_way.pop(handle), reason, now)

    def take(self, handle: ConnectionHandle) -> DialCandidate | RelayedCandidate | None:
        """Returns the candidate that a handshake was for, and forgets it."""
        return self._under_way.pop(handle, None)

    def take_direct(self, transport: TransportName) -> dict[ConnectionHandle, DialCandidate]:
        """Returns the handshakes under way by a transport and without a relay, and forgets them."""
        found = {
            handle: candidate
            for handle, candidate in self._under_way.items()
            if isinstance(candidate, DialCandidate) and candidate.transport is transport
        }
        for handle in found:
            del self._under_way[handle]
        return found

    @property
    def handles(self) -> tuple[ConnectionHandle, ...]:
        """Handshakes under way."""
        return tuple(self._under_way)

    @property
    def is_over(self) -> bool:
        """True once nothing is left to try or to wait for."""
        if self.is_direct_only:
            return not any(dial._has_direct_left for dial in self._chain())
        return not any(dial._has_direct_left or dial._has_more_left for dial in self._chain())

    @property
    def all_attempts(self) -> tuple[tuple[Multiaddr, P2PNodeError], ...]:
        """Returns what failed here and in the dials that this one has followed."""
        return tuple(attempt for dial in self._chain() for attempt in dial.attempts)

    def _chain(self) -> list["PeerDial"]:
        """Returns the dials whose tries this one shares, the oldest first, and itself."""
        chain: list[PeerDial] = [self]
        while chain[-1].follows is not None:
            chain.append(chain[-1].follows)
        return chain[::-1]

    @property
    def _has_direct_left(self) -> bool:
        return self._is_any_waiting or self._is_under_way("udp") or self._is_under_way("tcp")

    @property
    def _is_any_waiting(self) -> bool:
        return any(lane.waiting for lane in self._lanes.values())

    def _is_under_way(self, carrier: Carrier) -> bool:
        """Whether a direct address of that carrier is being tried."""
        return any(
            isinstance(candidate, DialCandidate) and candidate.transport.carrier == carrier
            for candidate in self._under_way.values()
        )

    @property
    def _has_more_left(self) -> bool:
        return bool(self._under_way or self._relays or self._asked or self.is_searching) or (
            self.search_at is not None
        )

    def stop(self) -> None:
        """Nothing more is tried: a dial that follows need not wait."""
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._under_way.clear()
        self._relays.clear()
        self._asked.clear()
        self.is_searching = False
        self.search_at = None

    def wait_for_peer(self, now: Instant) -> bool:
        """Where nobody knew any address of the peer, sets `search_at`; False where it is enough.

        What the last search came to is forgotten: the next one asks the same relays again.  Of an
        address that could not be tried the reason is kept, and it is not looked at again.
        """
        if any(dial._has_met for dial in self._chain()):
            return False
        pause = next(self._pauses, None)
        if pause is None:
            return False
        self.search_at = now + pause
        self._known = {k: a for k, a in self._known.items() if not isinstance(k, PeerId)}
        kept = dict.fromkeys(self._known.values())
        self.attempts = [(address, why) for address, why in self.attempts if address in kept]
        return True

    def poll_timeout(self) -> Deadline | None:
        direct = relayed = None
        next_at = min(lane.due_at for lane in self._lanes.values())
        if next_at < inf and len(self._under_way) < MAX_CONCURRENT:
            direct = Deadline(next_at, "next address of a dial")
        if self._relays and len(self._asked) < MAX_RELAYS:
            relayed = Deadline(self._relays_at, "a dial turns to relays")
        again = self.search_at
        search = None if again is None else Deadline(again, "another search for a peer")
        return earliest(direct, relayed, search)


def _search_pauses() -> Iterator[float]:
    return (FIRST_SEARCH_PAUSE * 2**count for count in range(MORE_SEARCHES))


_TRANSPORTS: Final = tuple(TransportName)
_SCOPES: Final = (IpScope.LOOPBACK, IpScope.PRIVATE, IpScope.PUBLIC, IpScope.UNROUTABLE)


def _in_order(candidates: Iterable[DialCandidate]) -> list[DialCandidate]:
    """By transport, the best one first; of each, loopback before private before public (nearer).

    Of those IPv6 first (fewer NATs) and then by turns with IPv4, for one of both may lead nowhere.
    """
    of_family = Counter[tuple[int, int, bool]]()
    ranked: list[tuple[tuple[int, int, int, bool], DialCandidate]] = []
    for candidate in candidates:
        by_transport = _TRANSPORTS.index(candidate.transport)
        by_scope = _SCOPES.index(ip_scope(candidate.remote.ip))
        is_ipv4 = not candidate.remote.is_ipv6
        turn = of_family[by_transport, by_scope, is_ipv4]
        of_family[by_transport, by_scope, is_ipv4] += 1
        ranked.append(((by_transport, by_scope, turn, is_ipv4), candidate))
    ranked.sort(key=lambda each: each[0])
    return [candidate for _, candidate in ranked]
