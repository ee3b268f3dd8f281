"""Circuits and punches as paths of connections: what to do with a way that came up or went.

The rules: the connection's initiator alone opens paths, so it alone asks relays for more of them; a
connection that stays relayed has a second relay, for the day on which the first one dies.
"""

import contextlib
from collections.abc import Sequence
from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import circuit_addr
from p2pnode.machine import UdpAddr
from p2pnode.swarm.address_book import AddressBook
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.dials import Dials
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.relay_client import RelayClient
from p2pnode.transport.connection import Connection
from p2pnode.transport.endpoint import Endpoint
from p2pnode.transport.punch import Punch
from p2pnode.transport.route import Route

MAX_STANDBY_RELAYS: Final = 2
"""relays asked at once for another circuit to a peer; chosen: as many as a peer has"""


class RelayedPaths:
    """Has no state of its own: it joins the parts that have."""

    def __init__(
        self,
        endpoint: Endpoint,
        pool: ConnectionPool,
        book: AddressBook,
        addresses: OwnAddresses,
        relay_client: RelayClient,
        dials: Dials,
    ) -> None:
        self._endpoint = endpoint
        self._pool = pool
        self._book = book
        self._addresses = addresses
        self._relay_client = relay_client
        self._dials = dials

    def use_circuit(self, route: Route, peer_id: PeerId, *, is_asker: bool, now: Instant) -> None:
        """A circuit stands: another path of a connection, or the way of a dial."""
        best = self._pool.best(peer_id)
        connection = None if best is None else self._open(best)
        if connection is not None:
            if connection.is_initiator:
                try:
                    connection.paths.open([route], now)
                except LocalProtocolError:
                    self._relay_client.release(route, now)
            return
        relay = self._relay_client.relay_of(route)
        if is_asker and (relay is None or not self._dials.on_circuit(peer_id, relay, route, now)):
            self._relay_client.release(route, now)

    def drop_circuit(self, route: Route, peer_id: PeerId, reason: str, now: Instant) -> None:
        """A circuit is gone: who has no direct path needs another one."""
        for pooled in list(self._pool.peers().get(peer_id, ())):
            connection = self._open(pooled.handle)
            if connection is not None:
                connection.paths.lose(route, reason, now)
                if connection.route.is_relayed:
                    self.ask_other_relays(peer_id, None, now)

    def ask_standby_relay(self, handle: int, peer_id: PeerId, now: Instant) -> None:
        """Gets a second relay for a connection that stays relayed."""
        connection = self._open(handle)
        if connection is None or not connection.route.is_relayed:
            return
        relayed = [
            path.route
            for path in connection.paths.paths.values()
            if path.route is not None and path.route.is_relayed
        ]
        if len(relayed) == 1:
            self.ask_other_relays(peer_id, self._relay_client.relay_of(relayed[0]), now)

    def ask_other_relays(self, peer_id: PeerId, avoided: PeerId | None, now: Instant) -> None:
        """Asks the relays that a connected peer is said to have for one more circuit."""
        best = self._pool.best(peer_id)
        connection = None if best is None else self._open(best)
        if connection is None or not connection.is_initiator:
            return
        known = (circuit_addr(a) for a in self._book.addresses(peer_id, now))
        relays = {c.relay: c.address for c in known if c is not None and c.relay != avoided}
        for relay, address in list(relays.items())[:MAX_STANDBY_RELAYS]:
            self._relay_client.request(peer_id, relay, (address,), now)

    def punch(self, handle: int, remotes: Sequence[UdpAddr], punch: Punch, now: Instant) -> None:
        """Probes addresses as new routes of a relayed connection, from the listening sockets."""
        connection = self._open(handle)
        if connection is None:
            return
        sockets = ((self._addresses.socket_for(remote), remote) for remote in remotes)
        routes = [Route(socket, None, remote) for socket, remote in sockets if socket is not None]
        if routes:
            # Where the peer allows no further path, the round's time passes without an answer.
            with contextlib.suppress(LocalProtocolError):
                connection.paths.punch(routes, punch, now)

    def _open(self, handle: int) -> Connection | None:
        connection = self._endpoint.connection(handle)
        return None if connection is None or connection.is_closed else connection
