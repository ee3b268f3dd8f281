"""How many streams peers may have open with this node, counted in one place.

    opened by the peer --enter--> negotiating --enter--> its protocol's --leave--> counted nowhere

Rule: a stream counts in one place at a time, from the moment it is let in until it is over, and
leaves exactly once, whoever it belongs to.  What is full refuses; nothing is put aside for later.
"""

import enum
from collections.abc import Hashable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle

MAX_NEGOTIATING: Final = 64
"""Inbound streams of one connection whose protocol is not known yet; chosen: a burst of requests"""

StreamKey: TypeAlias = tuple[ConnectionHandle, int]
"""(connection handle, stream id)"""


class LimitScope(enum.Enum):
    """Whose streams are counted together."""

    CONNECTION = "connection"
    PEER = "peer"
    """All connections of a peer: whoever opens more of them gets no more streams by it."""
    NODE = "node"
    """Everybody's: for streams of peers under identities that are thrown away."""


class InboundLimit(NamedTuple):
    """How many inbound streams of one protocol may be open at a time."""

    streams: int
    scope: LimitScope = LimitScope.PEER


_NEGOTIATING: Final = InboundLimit(MAX_NEGOTIATING, LimitScope.CONNECTION)
_Account: TypeAlias = tuple[Hashable, str | None]
"""(who, the protocol; None while it is not known)"""


class InboundStreams:
    """The one place that lets inbound streams in."""

    def __init__(self) -> None:
        self._open: dict[_Account, int] = {}
        self._account_of: dict[StreamKey, _Account] = {}

    def enter_negotiation(self, stream: StreamKey, peer_id: PeerId) -> bool:
        """Counts a stream whose protocol is not known yet, unless there are too many."""
        return self._enter(stream, peer_id, None, _NEGOTIATING)

    def enter(self, stream: StreamKey, peer_id: PeerId, protocol: str, limit: InboundLimit) -> bool:
        """Counts a stream as its protocol's; False, and it counts nowhere, where that is full."""
        self.leave(stream)
        return self._enter(stream, peer_id, protocol, limit)

    def leave(self, stream: StreamKey) -> None:
        """The stream is over; nothing for one that does not count."""
        account = self._account_of.pop(stream, None)
        if account is None:
            return
        left = self._open.pop(account) - 1
        if left:
            self._open[account] = left

    def __len__(self) -> int:
        return len(self._account_of)

    def _enter(
        self, stream: StreamKey, peer_id: PeerId, protocol: str | None, limit: InboundLimit
    ) -> bool:
        assert stream not in self._account_of
        account = _holder(limit.scope, stream[0], peer_id), protocol
        count = self._open.get(account, 0)
        if count >= limit.streams:
            return False
        self._open[account] = count + 1
        self._account_of[stream] = account
        return True


def _holder(scope: LimitScope, connection: ConnectionHandle, peer_id: PeerId) -> Hashable:
    match scope:
        case LimitScope.CONNECTION:
            return connection
        case LimitScope.PEER:
            return peer_id.multihash  # bytes know their hash
        case LimitScope.NODE:
            return None
