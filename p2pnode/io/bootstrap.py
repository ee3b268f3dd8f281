"""Stays connected with the peers that a node was given to begin with.

By them it is seen from outside, relayed for and found: so they are dialled again, for ever.
"""

from typing import Final

import trio

from p2pnode.errors import AddressError, P2PNodeError
from p2pnode.io.dial_target import DialTarget
from p2pnode.io.node import Node
from p2pnode.io.node_events import BootstrapFailed

CHECK_INTERVAL: Final = 15.0
"""seconds between two looks; chosen: a peer that restarts is back before anybody asks"""


async def keep_connected(node: Node, target: DialTarget) -> None:
    """Dials the peer, and again whenever it is gone; never returns.

    Raises AddressError: that never gets better.
    """
    while True:
        try:
            await node.connect_to(target)
        except AddressError:
            raise
        except P2PNodeError as exc:
            node.report(BootstrapFailed(str(target), str(exc), CHECK_INTERVAL))
        await trio.sleep(CHECK_INTERVAL)
