"""`p2pnode why`: connects with a peer, lets hole punching have its say, and asks for the reason.

Rule: whatever comes of it is an answer; only what nobody could have meant is an error.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

import trio

from p2pnode.errors import AddressError, DialError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.dial_target import DialTarget
from p2pnode.io.node.events import EventSubscription, PathChanged, PunchEnded
from p2pnode.protocols.dcutr.plan import MAX_ROUNDS
from p2pnode.protocols.nat_behaviour.why import Explanation

PUNCH_PATIENCE: Final = 10.0
"""seconds for a fresh relayed connection to become direct; chosen: three rounds of punching"""


class ExplainingNode(Protocol):
    """The part of a Node that is needed here."""

    @property
    def peers(self) -> Sequence[PeerId]: ...

    def events(self) -> EventSubscription: ...

    async def connect_to(self, target: DialTarget) -> PeerId: ...

    def explain(self, peer: PeerId) -> Explanation: ...


async def connect_and_explain(node: ExplainingNode, target: DialTarget) -> Explanation:
    """Returns the explanation.  Raises AddressError; DialError where no id is known."""
    events = node.events()
    had_its_time = target.peer_id in node.peers
    try:
        peer = await node.connect_to(target)
    except AddressError:
        raise
    except DialError as exc:
        if target.peer_id is None:
            raise
        found = node.explain(target.peer_id)
        return found if found.property is not None else replace(found, verdict=str(exc))
    if node.explain(peer).path == "relayed" and not had_its_time:
        with trio.move_on_after(PUNCH_PATIENCE):
            await _watch(events, peer)
    return node.explain(peer)


async def _watch(events: EventSubscription, peer: PeerId) -> None:
    """Returns once the path is direct, or the last round has failed."""
    async for event in events:
        match event:
            case PathChanged(peer_id, "direct") if peer_id == peer:
                return
            case PunchEnded(peer_id, number, _, is_direct) if peer_id == peer:
                if is_direct or number >= MAX_ROUNDS:
                    return
            case _:
                pass
