"""Identify in the swarm: asks every new peer who it is, answers, and pushes our own news.

News are pushed at most once a second to a peer (a storm of changes becomes one message).
"""

from collections.abc import Callable, Mapping
from typing import Final

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.errors import DecodeError
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols import identify
from p2pnode.protocols.identify import (
    IdentifyInfo,
    IdentifyMessage,
    IdentifyRequester,
    IdentifyResponder,
    Pushed,
    PushReceiver,
    PushSender,
    apply_push,
)
from p2pnode.swarm.events import IdentifyFailed, PeerIdentified
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.service import OpenStream, Service

PUSH_INTERVAL: Final = 1.0
"""seconds between two rounds of pushes; js-libp2p's debounce"""


class IdentifyService(Service):
    """`identify` and `push_news` are its commands."""

    inbound: Mapping[str, InboundLimit] = dict.fromkeys(
        (identify.PROTOCOL_ID, identify.PUSH_PROTOCOL_ID),
        InboundLimit(identify.MAX_INBOUND_STREAMS_PER_PEER),
    )

    def __init__(
        self,
        describe: Callable[[Peer, Instant], IdentifyMessage],
        infos: dict[ConnectionHandle, IdentifyInfo],
        delay: float,
    ) -> None:
        """`describe` gives what we say of ourselves to a peer, `infos` takes what peers say."""
        super().__init__()
        self._describe = describe
        self._delay = delay
        self._peers: dict[ConnectionHandle, Peer] = {}
        self._due: dict[ConnectionHandle, Instant] = {}
        self._asking: dict[ConnectionHandle, IdentifyRequester] = {}
        self._pushing: dict[PushSender, None] = {}
        self._push_at: Instant | None = None
        self._pushed_at: Instant = float("-inf")
        self.answered = 0
        """Requests of peers."""
        self.pushes_sent = self.pushes_received = 0
        self._infos = infos

    def identify(self, connection: ConnectionHandle, now: Instant) -> None:
        """Asks a peer now, unless it is being asked."""
        self._due.pop(connection, None)
        peer = self._peers.get(connection)
        if peer is None or connection in self._asking:
            return
        requester = self._asking[connection] = IdentifyRequester(peer.peer_id, now)
        self._command(OpenStream(connection, identify.PROTOCOL_ID, requester))

    def push_news(self, now: Instant) -> None:
        """Our addresses or protocols have changed: those who know us should hear it."""
        if self._push_at is None and self._infos:
            self._push_at = max(now, self._pushed_at + PUSH_INTERVAL)

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        if protocol == identify.PUSH_PROTOCOL_ID:
            return PushReceiver(peer.peer_id, now)
        return IdentifyResponder(self._describe(peer, now))

    def on_connected(self, peer: Peer, now: Instant) -> None:
        self._peers[peer.connection] = peer
        self._due[peer.connection] = now + self._delay

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        for known in (self._peers, self._due, self._asking, self._infos):
            known.pop(peer.connection, None)

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        match machine:
            case IdentifyRequester() if self._asking.get(connection) is machine:
                del self._asking[connection]
                self._announce(IdentifyFailed(connection, reason))
            case PushSender():
                self._pushing.pop(machine, None)
            case _:
                pass

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        match machine:
            case IdentifyRequester() if self._asking.get(connection) is machine:
                del self._asking[connection]
                match machine.outcome:
                    case identify.Identified(info):
                        self._learn(connection, info)
                    case identify.IdentifyFailed(reason):
                        self._announce(IdentifyFailed(connection, reason))
                    case None:
                        pass
            case PushReceiver() if isinstance(machine.outcome, Pushed):
                if connection in self._peers:
                    self.pushes_received += 1
                    self._apply(connection, machine.outcome.message)
            case PushSender() if machine in self._pushing:
                del self._pushing[machine]
                self.pushes_sent += 1
            case IdentifyResponder():
                self.answered += 1
            case _:
                pass

    def handle_timeout(self, now: Instant) -> None:
        for connection in [c for c, at in self._due.items() if now >= at]:
            self.identify(connection, now)
        if self._push_at is not None and now >= self._push_at:
            self._push_at = None
            self._pushed_at = now
            for connection, info in self._infos.items():
                if identify.PUSH_PROTOCOL_ID in info.protocols:
                    sender = PushSender(self._describe(self._peers[connection], now))
                    self._pushing[sender] = None
                    command = OpenStream(connection, identify.PUSH_PROTOCOL_ID, sender)
                    self._command(command)

    def poll_timeout(self) -> Deadline | None:
        first = min(self._due.values(), default=None)
        return earliest(
            None if first is None else Deadline(first, "identify"),
            None if self._push_at is None else Deadline(self._push_at, "identify push"),
        )

    def _apply(self, connection: ConnectionHandle, message: IdentifyMessage) -> None:
        known = self._infos.get(connection)
        if known is None:
            known = IdentifyInfo(self._peers[connection].peer_id)
        try:
            self._learn(connection, apply_push(known, message))
        except DecodeError:
            return  # somebody else's key in a push: as if it had not come

    def _learn(self, connection: ConnectionHandle, info: IdentifyInfo) -> None:
        self._infos[connection] = info
        self._announce(PeerIdentified(connection, info))
