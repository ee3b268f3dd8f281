"""Whom to ask next, and by which protocol (specs/autonat.md, Choice of a server).

Rules: delegated dial-back before v2 before v1, as only the first tells strangers' packets from
acquaintances'; the one who was asked longest ago first; nobody more often than its protocol bears.
"""

import enum
from collections.abc import Collection, Sequence
from typing import NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId

THROTTLE_DELEGATED = 5.0  # seconds; chosen: 12 a minute, its servers' limit for a peer
THROTTLE_V2 = 120.0  # seconds; go-libp2p
THROTTLE_V1 = 90.0  # seconds; go-libp2p
MAX_REMEMBERED_SERVERS = 256  # chosen; the one asked longest ago goes


class Method(enum.Enum):
    """The protocols, best first; the value is the id that a server must speak."""

    DELEGATED = "/p2pnode/dial-back/1.0.0"
    V2 = "/libp2p/autonat/2/dial-request"
    V1 = "/libp2p/autonat/1.0.0"


_THROTTLES = {
    Method.DELEGATED: THROTTLE_DELEGATED,
    Method.V2: THROTTLE_V2,
    Method.V1: THROTTLE_V1,
}


class PossibleServer(NamedTuple):
    """A directly connected peer that might serve."""

    peer_id: PeerId
    protocols: Collection[str]


class ServerChoice:
    """Remembers who was asked when."""

    def __init__(self) -> None:
        self._asked = Bounded[tuple[PeerId, Method], Instant](MAX_REMEMBERED_SERVERS)

    def pick(
        self, servers: Sequence[PossibleServer], methods: Sequence[Method], now: Instant
    ) -> tuple[PeerId, Method] | None:
        """Returns whom to ask, of the first method that anybody is free for; notes that it is.

        Leave DELEGATED out of `methods` where a server has just found no helper: v2 is the
        fall-back.
        """
        for method in methods:
            free = [
                server.peer_id
                for server in servers
                if method.value in server.protocols
                and now >= self._asked_at(server.peer_id, method) + _THROTTLES[method]
            ]
            if free:
                chosen = min(free, key=lambda peer_id: self._asked_at(peer_id, method))
                self._asked[chosen, method] = now
                return chosen, method
        return None

    def _asked_at(self, peer_id: PeerId, method: Method) -> Instant:
        return self._asked.get((peer_id, method), float("-inf"))
