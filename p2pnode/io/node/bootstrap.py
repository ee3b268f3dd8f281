"""Stays connected with the peers that a node was given to begin with.

By them it is seen from outside, relayed for and found: so they are dialled again, for ever.  Rule:
a peer that comes back is met at once, and one that does not is not pestered.
"""

from collections.abc import Sequence
from typing import Final

import trio

from p2pnode.errors import AddressError, P2PNodeError
from p2pnode.io.dial_target import DialTarget
from p2pnode.io.node.events import BootstrapFailed
from p2pnode.io.node.node import Node

FIRST_RETRY: Final = 1.0
"""seconds; chosen: the peer may be starting just now, as this node is"""
MAX_RETRY: Final = 15.0
"""seconds; chosen: a peer that restarts is back before anybody asks"""
STEADY_TIME: Final = 15.0
"""seconds of connection after which the pauses begin anew; chosen: above a handshake's"""

NEXT_PEER_DELAY: Final = 1.0
"""seconds for the first peer to answer before the next one is dialled; chosen: RFC 8305's, for a
whole handshake"""
VERDICT_CHECK: Final = 0.05
"""seconds between looks at whether the node knows who reaches it; chosen"""


async def keep_all_connected(node: Node, targets: Sequence[DialTarget]) -> None:
    """Stays connected with all of them; never returns.  Raises AddressError.

    A node that listens meets them one after the other: whom it has not met can tell it whether
    strangers' packets arrive (specs/autonat.md).
    """
    async with trio.open_nursery() as nursery:
        for index, target in enumerate(targets):
            if index:
                await _wait_until_settled(node)
            nursery.start_soon(keep_connected, node, target)


async def _wait_until_settled(node: Node) -> None:
    given_up_at = trio.current_time() + NEXT_PEER_DELAY
    while node.is_undecided or (  # noqa: ASYNC110 - the machine has no event for it
        not node.peers and trio.current_time() < given_up_at
    ):
        await trio.sleep(VERDICT_CHECK)


async def keep_connected(node: Node, target: DialTarget) -> None:
    """SharedDials the peer, and again whenever it is gone; never returns.

    Raises AddressError: that never gets better.
    """
    pause = FIRST_RETRY
    while True:
        try:
            peer = await node.connect_to(target)
            connected_at = trio.current_time()
            await node.wait_disconnected(peer)
            if trio.current_time() >= connected_at + STEADY_TIME:
                pause = FIRST_RETRY
        except AddressError:
            raise
        except P2PNodeError as exc:
            node.report(BootstrapFailed(_text(target), str(exc), pause))
        await trio.sleep(pause)
        pause = min(2 * pause, MAX_RETRY)


def _text(target: DialTarget) -> str:
    if target.peer_id is None:
        return str(target)
    return f"{target.address}/p2p/{target.peer_id}"
