"""Identify in the swarm: asks every new peer who it is, answers, and pushes our own news.

News are pushed at most once a second to a peer (a storm of changes becomes one message).
"""

from collections.abc import Callable
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
from p2pnode.swarm.services.service import OpenStream, Peer, Service

PUSH_INTERVAL: Final = 1.0
"""seconds between two rounds of pushes; js-libp2p's debounce"""


class IdentifyService(Service):
    """`identify` and `push_news` are its commands."""

    protocol_ids: tuple[str, ...] = (identify.PROTOCOL_ID, identify.PUSH_PROTOCOL_ID)

    def __init__(self, describe: Callable[[Peer, Instant], IdentifyMessage], delay: float) -> None:
        """`describe` gives what we say of ourselves to a peer."""
        super().__init__()
        self._describe = describe
        self._delay = delay
        self._peers: dict[ConnectionHandle, Peer] = {}
        self._due: dict[ConnectionHandle, Instant] = {}
        self._asking: dict[ConnectionHandle, None] = {}
        self._responders: dict[ConnectionHandle, int] = {}
        self._push_at: Instant | None = None
        self._pushed_at: Instant = float("-inf")
        self.answered = 0
        """Requests of peers."""
        self.pushes_sent = self.pushes_received = 0
        self.infos: dict[ConnectionHandle, IdentifyInfo] = {}
        """What is known of the peer of each connection."""

    def identify(self, connection: ConnectionHandle, now: Instant) -> None:
        """Asks a peer now, unless it is being asked."""
        self._due.pop(connection, None)
        peer = self._peers.get(connection)
        if peer is None or connection in self._asking:
            return
        self._asking[connection] = None
        requester = IdentifyRequester(peer.peer_id, now)
        self._command(OpenStream(connection, identify.PROTOCOL_ID, requester))

    def push_news(self, now: Instant) -> None:
        """Our addresses or protocols have changed: those who know us should hear it."""
        if self._push_at is None and self.infos:
            self._push_at = max(now, self._pushed_at + PUSH_INTERVAL)

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        open_streams = self._responders.get(peer.connection, 0)
        if open_streams >= identify.MAX_INBOUND_STREAMS_PER_PEER:
            return None
        self._responders[peer.connection] = open_streams + 1
        if protocol == identify.PUSH_PROTOCOL_ID:
            return PushReceiver(peer.peer_id, now)
        return IdentifyResponder(self._describe(peer, now))

    def on_connected(self, peer: Peer, now: Instant) -> None:
        self._peers[peer.connection] = peer
        self._due[peer.connection] = now + self._delay

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        for known in (self._peers, self._due, self._asking, self._responders, self.infos):
            known.pop(peer.connection, None)

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if not machine.is_done or connection not in self._peers:
            return
        match machine:
            case IdentifyRequester():
                self._asking.pop(connection, None)
                match machine.outcome:
                    case identify.Identified(info):
                        self._learn(connection, info)
                    case identify.IdentifyFailed(reason):
                        self._announce(IdentifyFailed(connection, reason))
                    case None:
                        pass
            case PushReceiver():
                self._count_down(connection)
                if isinstance(machine.outcome, Pushed):
                    self.pushes_received += 1
                    self._apply(connection, machine.outcome.message)
            case PushSender():
                self.pushes_sent += 1
            case _:
                self.answered += 1
                self._count_down(connection)

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, IdentifyRequester):
            self._asking.pop(connection, None)
            self._announce(IdentifyFailed(connection, reason))

    def handle_timeout(self, now: Instant) -> None:
        for connection in [c for c, at in self._due.items() if now >= at]:
            self.identify(connection, now)
        if self._push_at is not None and now >= self._push_at:
            self._push_at = None
            self._pushed_at = now
            for connection, info in self.infos.items():
                if identify.PUSH_PROTOCOL_ID in info.protocols:
                    sender = PushSender(self._describe(self._peers[connection], now))
                    command = OpenStream(connection, identify.PUSH_PROTOCOL_ID, sender)
                    self._command(command)

    def poll_timeout(self) -> Deadline | None:
        first = min(self._due.values(), default=None)
        return earliest(
            None if first is None else Deadline(first, "identify"),
            None if self._push_at is None else Deadline(self._push_at, "identify push"),
        )

    def _apply(self, connection: ConnectionHandle, message: IdentifyMessage) -> None:
        known = self.infos.get(connection)
        if known is None:
            known = IdentifyInfo(self._peers[connection].peer_id)
        try:
            self._learn(connection, apply_push(known, message))
        except DecodeError:
            return  # somebody else's key in a push: as if it had not come

    def _learn(self, connection: ConnectionHandle, info: IdentifyInfo) -> None:
        self.infos[connection] = info
        self._announce(PeerIdentified(connection, info))

    def _count_down(self, connection: ConnectionHandle) -> None:
        if self._responders.get(connection, 0) > 0:
            self._responders[connection] -= 1
