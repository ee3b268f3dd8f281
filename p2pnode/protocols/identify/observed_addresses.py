"""What peers say our addresses are: evidence kept, counted and explained (specs/identify.md).

A fold: observations go in, `report` says what they amount to.  Rules: all peers that one owner's
address block could hold count as one observer; what a peer cannot know is left out, with the
reason; "unknown" is an answer.  An address is confirmed by four such groups;
whether strangers' packets arrive there is another question, which AutoNAT answers.

The local socket belongs to the evidence: each socket has a mapping of its own at a NAT, and only
what was sent from the listening socket says anything about the listening socket.
"""

import enum
from typing import NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant
from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols.identify.socket_evidence import SocketEvidence, SocketReport
from p2pnode.wire.ip_ranges import IpScope, ip_scope, is_nat64, owner_group

MAX_SOCKETS = 64  # the one with the oldest news goes; chosen: listening sockets and punch sprays


class Observation(NamedTuple):
    """One peer's statement."""

    observer: PeerId
    observer_addr: SocketAddr | None
    """Where the observer is, or None where a relay lies between."""
    socket: SocketId
    """Our socket that the connection uses."""
    observed: SocketAddr
    """Our address as the observer sees it."""


class Disposition(enum.Enum):
    """What became of an observation; the value says it to people."""

    COUNTED = "it counts"
    RELAYED = "a relay lies between, so the peer saw the relay"
    LOOPBACK = "loopback addresses say nothing about the outside"
    PRIVATE = "an address inside of a private network is not an external one"
    OBSERVER_PRIVATE = "a peer in a private network does not see our external address"
    NAT64 = "a NAT64 translator lies between"
    FAMILY_MISMATCH = "the peer reported an address of the other IP version"
    UNROUTABLE = "nobody can have that address"


class ObservedAddressBook:
    """The fold.  Pure: `now` is an argument everywhere."""

    def __init__(self) -> None:
        self._sockets = Bounded[SocketId, SocketEvidence](MAX_SOCKETS)

    def update(self, observation: Observation, now: Instant) -> Disposition:
        """Takes a statement; it replaces the same observer's earlier one for that socket."""
        self._expire(now)
        disposition = judge(observation)
        if disposition is not Disposition.COUNTED:
            return disposition
        assert observation.observer_addr is not None  # or it would be RELAYED
        evidence = self._sockets.get(observation.socket) or SocketEvidence(observation.socket)
        self._sockets[observation.socket] = evidence
        group = owner_group(observation.observer_addr.ip)
        observed = observation.observed._replace(scope_id=0)
        evidence.put(observation.observer, group, observed, now)
        return disposition

    def refresh(self, observer: PeerId, now: Instant) -> None:
        """Keeps an observer's statements alive: its connection still works as it did."""
        self._expire(now)
        for evidence in self._sockets.values():
            evidence.renew(observer, now)

    def remove(self, observer: PeerId) -> None:
        """Forgets what an observer said: it is connected no longer."""
        for evidence in self._sockets.values():
            evidence.remove(observer)
        self._drop_empty()

    def remove_socket(self, socket: SocketId) -> None:
        """Forgets everything about a socket that was closed, or whose network changed."""
        self._sockets.pop(socket, None)

    def report(self, socket: SocketId, now: Instant) -> SocketReport:
        """Returns what the evidence for a socket amounts to."""
        self._expire(now)
        return (self._sockets.get(socket) or SocketEvidence(socket)).report()

    def snapshot(self, now: Instant) -> tuple[SocketReport, ...]:
        """Returns the reports of all sockets with evidence, by socket."""
        self._expire(now)
        return tuple(self.report(socket, now) for socket in sorted(self._sockets))

    def poll_timeout(self) -> Deadline | None:
        """Returns when the oldest evidence expires, and a new report may differ."""
        first = min((e.expires_at for e in self._sockets.values()), default=None)
        return None if first is None else Deadline(first, "observed address expires")

    def _expire(self, now: Instant) -> None:
        for evidence in self._sockets.values():
            evidence.expire(now)
        self._drop_empty()

    def _drop_empty(self) -> None:
        for socket in [socket for socket, evidence in self._sockets.items() if not evidence]:
            del self._sockets[socket]


def judge(observation: Observation) -> Disposition:
    """Returns whether a statement can say anything about an external address of ours."""
    observer_addr, observed = observation.observer_addr, observation.observed
    if observer_addr is None:
        return Disposition.RELAYED
    try:
        observer_scope, observed_scope = ip_scope(observer_addr.ip), ip_scope(observed.ip)
        translated = is_nat64(observer_addr.ip) or is_nat64(observed.ip)
    except AddressError:
        return Disposition.UNROUTABLE
    if observer_addr.is_ipv6 != observed.is_ipv6:
        return Disposition.FAMILY_MISMATCH
    if IpScope.LOOPBACK in (observer_scope, observed_scope):
        return Disposition.LOOPBACK
    if translated:
        return Disposition.NAT64
    if observed_scope is IpScope.PRIVATE:
        return Disposition.PRIVATE
    if observed_scope is IpScope.UNROUTABLE or not 0 < observed.port <= 0xFFFF:
        return Disposition.UNROUTABLE
    if observer_scope is not IpScope.PUBLIC:
        return Disposition.OBSERVER_PRIVATE
    return Disposition.COUNTED
