"""Circuits and punches as paths of connections: what to do with a way that came up or went.

The rules: the connection's initiator alone opens paths, so it alone asks relays for more of them; a
connection that stays relayed has a second relay, for the day on which the first one dies.
"""

import contextlib
from collections.abc import Sequence
from itertools import islice
from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import circuit_addr
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.swarm.address_book import AddressBook
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.dials import MAX_SPECULATIVE_RELAYS, Dials
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.requests import ReleaseCircuit, RequestCircuit, ServiceRequest
from p2pnode.transports.muxed_connection import MuxedConnection, Paths
from p2pnode.transports.punch import Punch
from p2pnode.transports.registry import Transports
from p2pnode.transports.route import Route

MAX_STANDBY_RELAYS: Final = 2
"""relays asked at once for another circuit to a peer; chosen: as many as a peer has"""

MAX_REPLACEMENTS: Final = 8
"""times in REPLACEMENT_WINDOW that relays are asked for one more circuit to a connected peer;
chosen: or a relay that ends what it has just opened would keep us asking at its own pace"""
MAX_SUSPECT_REQUESTS: Final = 15
"""times in REPLACEMENT_WINDOW that connected peers are asked for a connection without a way;
chosen: as often as it is found to be suspect before its idle timeout"""
REPLACEMENT_WINDOW: Final = 60.0
"""seconds"""


class RelayedPaths:
    """Joins the parts that have the state; its own is how often relays were asked."""

    def __init__(
        self,
        transports: Transports,
        pool: ConnectionPool,
        book: AddressBook,
        addresses: OwnAddresses,
        facts: SwarmFacts,
        dials: Dials,
        requests: list[ServiceRequest],
    ) -> None:
        """`requests` takes what services are asked for."""
        self._transports = transports
        self._pool = pool
        self._book = book
        self._addresses = addresses
        self._facts = facts
        self._dials = dials
        self._requests = requests
        self._replacements = KeyedRateLimit[PeerId](MAX_REPLACEMENTS, REPLACEMENT_WINDOW)
        self._suspect_requests = KeyedRateLimit[PeerId](MAX_SUSPECT_REQUESTS, REPLACEMENT_WINDOW)

    def use_circuit(self, route: Route, peer_id: PeerId, *, is_asker: bool, now: Instant) -> None:
        """A circuit stands: another path of a connection, or the way of a dial."""
        handle, paths = self._movable(peer_id)
        if handle is not None and paths is not None:
            if not is_asker or paths.runs_over(route):
                return
            try:
                with self._transports.commanding(handle, now):
                    paths.open([route], now)
            except LocalProtocolError:  # only the initiator may, and not without end
                self._requests.append(ReleaseCircuit(route))
            return
        if self._is_connected(peer_id):  # by what stays where it is
            if is_asker:
                self._requests.append(ReleaseCircuit(route))
            return
        relay = self._facts.relay_of(route)
        if is_asker and (relay is None or not self._dials.on_circuit(peer_id, relay, route, now)):
            self._requests.append(ReleaseCircuit(route))

    def drop_circuit(self, route: Route, peer_id: PeerId, reason: str, now: Instant) -> None:
        """A circuit is gone: a connection without a direct path needs another one."""
        for pooled in list(self._pool.peers().get(peer_id, ())):
            connection = self._open(pooled.handle)
            paths = None if connection is None else connection.paths
            if connection is not None and paths is not None and paths.runs_over(route):
                with self._transports.commanding(pooled.handle, now):
                    paths.lose(route, reason, now)
                if connection.route.is_relayed:
                    self.ask_other_relays(peer_id, None, now)

    def replace_circuit(self, route: Route, peer_id: PeerId, relay: PeerId, now: Instant) -> None:
        """A circuit will end: data leaves it as soon as there is another way."""
        for pooled in list(self._pool.peers().get(peer_id, ())):
            connection = self._open(pooled.handle)
            if connection is not None and connection.paths is not None:
                with self._transports.commanding(pooled.handle, now):
                    connection.paths.retire(route, now)
        self.ask_other_relays(peer_id, relay, now)

    def release_idle(self, peer_id: PeerId, now: Instant) -> None:
        """Gives back the circuits to a peer that neither a connection nor a dial uses any more."""
        if self._dials.is_dialling(peer_id):
            return
        handles = [pooled.handle for pooled in self._pool.peers().get(peer_id, ())]
        connections = [c for handle in handles if (c := self._open(handle)) is not None]
        for route in self._facts.circuits_to(peer_id):
            if not any(_runs_over(connection, route) for connection in connections):
                self._requests.append(ReleaseCircuit(route))

    def ask_relays_for_suspect(self, handle: ConnectionHandle, now: Instant) -> None:
        """The only path of a connection has stopped answering: perhaps a relay still reaches it."""
        connection = self._open(handle)
        if connection is None or not connection.is_initiator:
            return
        peer_id = connection.peer_id
        self.ask_other_relays(peer_id, None, now)
        if self._suspect_requests.take(peer_id, now):
            for relay in self._near(peer_id):
                self._requests.append(RequestCircuit(peer_id, relay))

    def ask_standby_relay(self, handle: ConnectionHandle, peer_id: PeerId, now: Instant) -> None:
        """Gets a second relay for a connection that stays relayed."""
        connection = self._open(handle)
        if connection is None or connection.paths is None or not connection.route.is_relayed:
            return
        relayed = [route for route in connection.paths.routes() if route.is_relayed]
        if len(relayed) == 1:
            self.ask_other_relays(peer_id, self._facts.relay_of(relayed[0]), now)

    def ask_other_relays(self, peer_id: PeerId, avoided: PeerId | None, now: Instant) -> None:
        """Asks the relays that a connected peer is said to have for one more circuit."""
        handle, _ = self._movable(peer_id)
        connection = None if handle is None else self._open(handle)
        if (
            connection is None
            or not connection.is_initiator
            or not self._replacements.take(peer_id, now)
        ):
            return
        known = (circuit_addr(a) for a in self._book.addresses(peer_id, now))
        avoided_ids = (avoided, peer_id)
        relays = {
            c.relay: c.address
            for c in known
            if c and c.relay not in avoided_ids and c.transport in self._transports.names
        }
        for relay, address in list(relays.items())[:MAX_STANDBY_RELAYS]:
            self._requests.append(RequestCircuit(peer_id, relay, (address,)))

    def punch(
        self, handle: ConnectionHandle, remotes: Sequence[SocketAddr], punch: Punch, now: Instant
    ) -> None:
        """Probes addresses as new routes of a relayed connection, from the listening sockets."""
        connection = self._open(handle)
        if connection is None or connection.paths is None:
            return
        sockets = ((self._addresses.socket_for(remote), remote) for remote in remotes)
        routes = [Route(socket, None, remote) for socket, remote in sockets if socket is not None]
        if routes:
            # Where the peer allows no further path, the round's time passes without an answer.
            with contextlib.suppress(LocalProtocolError), self._transports.commanding(handle, now):
                connection.paths.punch(routes, punch, now)

    def _near(self, peer_id: PeerId) -> list[PeerId]:
        """Returns peers with which we are connected directly: they may be relays of the other."""
        found = (
            relay
            for relay, pooled in self._pool.peers().items()
            if relay != peer_id
            and (connection := self._open(pooled[0].handle)) is not None
            and not connection.route.is_relayed
            and not (connection.paths is not None and connection.paths.is_suspect)
        )
        return list(islice(found, MAX_SPECULATIVE_RELAYS))

    def _movable(self, peer_id: PeerId) -> tuple[ConnectionHandle, Paths] | tuple[None, None]:
        """Returns the best connection with a peer that can take other paths, and its paths."""
        for pooled in self._pool.peers().get(peer_id, ()):
            connection = self._open(pooled.handle)
            if connection is not None and connection.paths is not None:
                return pooled.handle, connection.paths
        return None, None

    def _is_connected(self, peer_id: PeerId) -> bool:
        pooled = self._pool.peers().get(peer_id, ())
        return any(self._open(each.handle) is not None for each in pooled)

    def _open(self, handle: ConnectionHandle) -> MuxedConnection | None:
        connection = self._transports.connections.get(handle)
        return None if connection is None or connection.is_closed else connection


def _runs_over(connection: MuxedConnection, route: Route) -> bool:
    """Whether a path of the connection uses a route, or tries it."""
    return connection.paths is not None and connection.paths.runs_over(route)
