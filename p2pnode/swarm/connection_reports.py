"""What connections report: keeps the list of peers and the pool, and tells whom it concerns.

A peer may have several: the pool says which one to use, and whether another one ends, and when.
"""

from collections.abc import Callable
from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import ConnectionLost, DialError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr, transport_multiaddr
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm import events
from p2pnode.swarm.connection_pool import PooledConnection
from p2pnode.swarm.dials import Dials
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.observations import Observations
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.state import SwarmState
from p2pnode.swarm.stream_table import StreamTable
from p2pnode.swarm.trimming import Trimming
from p2pnode.transports import events as transport
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.registry import Transports
from p2pnode.transports.route import ANY_PORT, Route

MAX_ONE_WAY_CONNECTIONS: Final = 64
"""connections of those who came for something of their own; the oldest goes; chosen: as many as
dial-backs may be under way"""


class ConnectionReports:
    """Joins the parts that have the state; it has none of its own."""

    def __init__(
        self,
        transports: Transports,
        state: SwarmState,
        streams: StreamTable,
        dials: Dials,
        relayed_paths: RelayedPaths,
        observations: Observations,
        trimming: Trimming,
        calls: ServiceCalls,
        tell: Callable[[SwarmEvent], None],
    ) -> None:
        """`tell` takes what the user shall know."""
        self._transports = transports
        self._peers, self._one_way = state.peers, state.one_way
        self._pool, self._book = state.pool, state.book
        self._streams = streams
        self._dials = dials
        self._relayed_paths = relayed_paths
        self._observations = observations
        self._trimming = trimming
        self._calls = calls
        self._tell = tell

    def on_event(
        self,
        handle: ConnectionHandle,
        event: transport.Connected | transport.DialFailed | transport.ConnectionEvent,
        now: Instant,
    ) -> None:
        """Takes an event that is not of a stream: what is rare."""
        match event:
            case transport.Connected():
                self._on_connected(handle, event, now)
            case transport.DialFailed(_, reason):
                self._dials.on_dial_failed(handle, reason, now)
            case transport.ConnectionClosed(reason):
                self._on_closed(handle, reason, now)
            case transport.AddressObserved(_, route, address):
                self._on_observed(handle, route, address, now)
            case transport.PathChanged(_, route, reason):
                self._on_path_changed(handle, route, reason, now)
            case transport.PathValidated(_, route):
                self._calls.path_validated(handle, route, now)
                self._release_idle(handle, now)
            case transport.PathConfirmed(_, route):
                self._observe_again(handle, route, now)
            case transport.PathFailed():
                self._release_idle(handle, now)
            case transport.PathSuspected():
                self._relayed_paths.ask_relays_for_suspect(handle, now)
            case transport.TokenReceived(remote, token):
                peer = self._peers.get(handle)
                if peer is not None and not peer.route.is_relayed:  # else it is the relay's address
                    self._book.keep_token(transport_multiaddr(remote, peer.transport), token)
            case _:
                pass

    def _on_connected(
        self, handle: ConnectionHandle, event: transport.Connected, now: Instant
    ) -> None:
        connection = self._transports.connections.get(handle)
        if connection is None:  # it had to make way for another one at once
            self._dials.on_dial_failed(handle, DialError("the connection has ended at once"), now)
            return
        if handle in self._peers or handle in self._one_way:
            return  # told twice: the first word counts
        by = connection.transport
        peer = Peer(handle, event.peer_id, event.route, event.is_initiator, by)
        if not event.allows_streams:
            if event.is_initiator:
                reason = "the peer lets nobody open streams"
                self.disconnect(handle, now, reason=reason)
                self._dials.on_dial_failed(handle, DialError(reason), now)
            else:
                self._receive_one_way(peer, now)
            return
        self._peers[handle] = peer
        made = PooledConnection(
            handle,
            event.is_initiator,
            now,
            connection.transport,
            event.route.is_relayed,
            connection.is_limited,
        )
        before = self._best(event.peer_id)
        loser = self._pool.add(event.peer_id, made)
        self._tell(
            events.ConnectionEstablished(
                handle,
                event.peer_id,
                event.is_initiator,
                event.route,
                event.handshake_time,
                peer.transport,
                connection.is_limited,
            )
        )
        self._tell_way(before, event.peer_id, "there is a better connection")
        self._calls.connected(peer, now)
        self._dials.on_connected(peer, now)
        self._trimming.on_connected(now)
        if loser is not None:
            # Only who began it ends it at once: the other side may have seen the two the other
            # way round, and both would be gone.
            found = self._transports.connections.get(loser)
            if found is not None and found.is_initiator:
                self.close_if_drained(loser, now)

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        """A peer says where it sees us: it counts where its connection tells nothing of the kind.

        A transport whose connections move has a word of its own for that, which is newer.
        """
        connection = self._transports.connections.get(peer.connection)
        if connection is None or connection.paths is not None or peer.route.socket == ANY_PORT:
            return
        seen = None if info.observed_addr is None else transport_addr(info.observed_addr)
        at = None if seen is None or seen.transport is not peer.transport else seen.socket_addr
        if at is not None:
            self._on_observed(peer.connection, peer.route, at, now)

    def _receive_one_way(self, peer: Peer, now: Instant) -> None:
        self._one_way[peer.connection] = peer
        if len(self._one_way) > MAX_ONE_WAY_CONNECTIONS:
            self.disconnect(next(iter(self._one_way)), now, reason="too many one-way connections")

    def _on_closed(self, handle: ConnectionHandle, reason: ConnectionLost, now: Instant) -> None:
        peer = self._peers.get(handle)
        if peer is None:
            if self._one_way.pop(handle, None) is not None:
                self._streams.on_connection_closed(handle, now)
            return
        before = self._best(peer.peer_id)
        del self._peers[handle]
        is_last = self._pool.remove(peer.peer_id, handle)
        self._relayed_paths.release_idle(peer.peer_id, now)
        self._streams.on_connection_closed(handle, now)
        for event in self._streams.poll_events():  # of streams that came with the end: before it
            self._tell(event)
        self._calls.disconnected(peer, now)
        self._observations.on_closed(handle, peer.peer_id, is_last=is_last)
        self._tell(events.ConnectionClosed(handle, peer.peer_id, reason, is_last))
        self._tell_way(before, peer.peer_id, "the connection in use has ended")

    def _release_idle(self, handle: ConnectionHandle, now: Instant) -> None:
        peer = self._peers.get(handle)
        if peer is not None:
            self._relayed_paths.release_idle(peer.peer_id, now)

    def _on_observed(
        self, handle: ConnectionHandle, route: Route, address: SocketAddr, now: Instant
    ) -> None:
        peer = self._peers.get(handle)
        if peer is None:
            return
        disposition, report = self._observations.on_observed(peer, route, address, now)
        self._tell(
            events.AddressObserved(peer.peer_id, address, disposition, report, peer.transport)
        )
        self._calls.observed(peer, now)

    def _observe_again(self, handle: ConnectionHandle, route: Route, now: Instant) -> None:
        """After a change of the network a path answers: what its peer saw holds, or it says so."""
        peer = self._peers.get(handle)
        if peer is None or not self._observations.on_confirmed(handle, route, now):
            return
        self._calls.observed(peer, now)

    def _on_path_changed(
        self, handle: ConnectionHandle, route: Route, reason: str, now: Instant
    ) -> None:
        peer = self._peers.get(handle)
        if peer is None:
            return
        before = self._best(peer.peer_id)
        self._peers[handle] = peer = peer._replace(route=route)
        connection = self._transports.connections.get(handle)
        is_limited = connection is not None and connection.is_limited
        self._pool.change(peer.peer_id, handle, is_relayed=route.is_relayed, is_limited=is_limited)
        by = peer.transport
        self._tell(events.PathChanged(handle, peer.peer_id, route, reason, by, is_limited))
        self._tell_way(before, peer.peer_id, reason)
        self._calls.path_changed(peer, now)

    def _best(self, peer_id: PeerId) -> Peer | None:
        """Returns the connection that is used for a peer."""
        handle = self._pool.best(peer_id)
        return None if handle is None else self._peers.get(handle)

    def _tell_way(self, before: Peer | None, peer_id: PeerId, reason: str) -> None:
        """Tells where a peer that stays connected is reached, where that has changed."""
        after = self._best(peer_id)
        if before is None or after is None or _is_same_way(before, after):
            return
        handle, _, route, _, by = after
        connection = self._transports.connections.get(handle)
        is_limited = connection is not None and connection.is_limited
        self._tell(events.PeerPathChanged(handle, peer_id, route, reason, by, is_limited))

    # the end of connections

    def disconnect(
        self, handle: ConnectionHandle, now: Instant, code: int = 0, reason: str = ""
    ) -> None:
        """Closes a connection and tells the peer why."""
        with self._transports.commanding(handle, now) as connection:
            if connection is not None:
                connection.close(code, reason, now)

    def close_if_drained(self, handle: ConnectionHandle, now: Instant) -> None:
        """Ends a connection that another one replaces, if nobody uses it any more."""
        if handle in self._pool.draining and not self._streams.has_streams(handle):
            self.supplant(handle, now)

    def supplant(self, handle: ConnectionHandle, now: Instant) -> None:
        """Ends a connection because another one replaces it."""
        with self._transports.commanding(handle, now) as connection:
            if connection is not None:
                reason = "another connection replaces this one"
                connection.close(ErrorCode.SUPPLANTED, reason, now, is_application=False)


def _is_same_way(before: Peer, after: Peer) -> bool:
    """Whether nothing has changed, or only the connection: by what, and where to, is the same."""
    if before.connection == after.connection:
        return before == after
    return (before.transport, before.route.is_relayed, before.route.remote) == (
        after.transport,
        after.route.is_relayed,
        after.route.remote,
    )
