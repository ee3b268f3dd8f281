"""How many streams peers may have open with this node, counted in one place.

    opened by the peer --enter--> negotiating --enter--> its protocol's --leave--> counted nowhere

Rule: a stream counts in one place at a time, from the moment it is let in until it is over, and
leaves exactly once, whoever it belongs to.  All that time it is drawn from the node's ledger of
streams as well.  What is full refuses; nothing is put aside for later.
"""

import enum
from collections.abc import Hashable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.resources.ledger import Ledger
from p2pnode.resources.refusal import Refusal, Resource, ScopeKind
from p2pnode.swarm.peer import Peer
from p2pnode.transports.places import holder

MAX_NEGOTIATING: Final = 128
"""Inbound streams of one connection whose protocol is not known yet; chosen: half of those that may
be open, for py-libp2p sends the proposals of a burst when all of it is open"""

StreamKey: TypeAlias = tuple[ConnectionHandle, int]
"""(connection handle, stream id)"""


class LimitScope(enum.Enum):
    """Whose streams are counted together."""

    PEER = "peer"
    """All connections of a peer: whoever opens more of them gets no more streams by it."""
    NODE = "node"
    """Everybody's: for streams of peers under identities that are thrown away."""


class InboundLimit(NamedTuple):
    """How many inbound streams of one protocol may be open at a time."""

    streams: int
    scope: LimitScope = LimitScope.PEER


_Account: TypeAlias = tuple[Hashable, str | None]
"""(who, the protocol; None while it is not known)"""


class InboundStreams:
    """The one place that lets inbound streams in."""

    def __init__(self, ledger: Ledger[ConnectionHandle]) -> None:
        """`ledger` counts the streams of each connection."""
        self._ledger = ledger
        self._open: dict[_Account, int] = {}
        self._account_of: dict[StreamKey, _Account] = {}

    def enter_negotiation(self, stream: StreamKey, peer: Peer) -> Refusal | None:
        """Counts a stream whose protocol is not known yet, unless there are too many."""
        assert stream not in self._account_of
        account = stream[0], None
        count = self._open.get(account, 0)
        if count >= MAX_NEGOTIATING:
            return self._refused("not negotiated", MAX_NEGOTIATING)
        try:
            refusal = self._ledger.grow(stream[0])
        except KeyError:  # the connection's first one
            self._ledger.put(stream[0], holder(peer.route, peer.peer_id), 0)
            refusal = self._ledger.grow(stream[0])
        if refusal is None:
            self._open[account] = count + 1
            self._account_of[stream] = account
        return refusal

    def enter(
        self, stream: StreamKey, peer_id: PeerId, protocol: str, limit: InboundLimit
    ) -> Refusal | None:
        """Counts a stream as its protocol's, not as one being negotiated any more.

        Where that is full, it counts nowhere.
        """
        self._left(self._account_of.pop(stream))
        account = _holder(limit.scope, peer_id), protocol
        count = self._open.get(account, 0)
        if count >= limit.streams:
            self._ledger.shrink(stream[0])
            return self._refused(protocol, limit.streams)
        self._open[account] = count + 1
        self._account_of[stream] = account
        return None

    def leave(self, stream: StreamKey) -> None:
        """The stream is over; nothing for one that does not count."""
        account = self._account_of.pop(stream, None)
        if account is not None:
            self._left(account)
            self._ledger.shrink(stream[0])

    def on_connection_closed(self, connection: ConnectionHandle) -> None:
        """A connection is gone, and so are its streams."""
        self._ledger.give_back(connection)

    def __len__(self) -> int:
        return len(self._account_of)

    def _left(self, account: _Account) -> None:
        left = self._open.pop(account) - 1
        if left:
            self._open[account] = left

    def _refused(self, protocol: str, limit: int) -> Refusal:
        refusal = Refusal(Resource.STREAMS, ScopeKind.PROTOCOL, protocol, limit)
        self._ledger.refusals.note(refusal)
        return refusal


def _holder(scope: LimitScope, peer_id: PeerId) -> Hashable:
    match scope:
        case LimitScope.PEER:
            return peer_id.multihash  # bytes know their hash
        case LimitScope.NODE:
            return None
