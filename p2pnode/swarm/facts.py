"""What services may look up: the swarm's parts, seen from one side (`service.SwarmFacts`)."""

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketId, UdpAddr
from p2pnode.protocols.identify import IdentifyInfo, ObservedAddressBook
from p2pnode.protocols.nat_behaviour.udp_silence import UdpSilence
from p2pnode.swarm.address_book import AddressBook
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.services.service import Peer
from p2pnode.transport.endpoint import Endpoint
from p2pnode.wire.multiaddr import Multiaddr


class Facts:
    """A `SwarmFacts`.  `peers` and `infos` are kept by their owners, and read here."""

    def __init__(
        self,
        endpoint: Endpoint,
        pool: ConnectionPool,
        book: AddressBook,
        addresses: OwnAddresses,
        observed: ObservedAddressBook,
    ) -> None:
        self._endpoint = endpoint
        self._pool = pool
        self._book = book
        self._addresses = addresses
        self._observed = observed
        self.peers: dict[ConnectionHandle, Peer] = {}
        """connections that are open"""
        self.visitors: dict[ConnectionHandle, Peer] = {}
        """connections of those who came for something of their own: dial-backs"""
        self.infos: dict[ConnectionHandle, IdentifyInfo] = {}
        """what the peer of each connection has said of itself"""
        self.udp_silence = UdpSilence()

    def peer(self, connection: ConnectionHandle) -> Peer | None:
        return self.peers.get(connection) or self.visitors.get(connection)

    def best(self, peer_id: PeerId) -> ConnectionHandle | None:
        return self._pool.best(peer_id)

    def direct(self, peer_id: PeerId) -> ConnectionHandle | None:
        for pooled in self._pool.peers().get(peer_id, ()):
            peer = self.peers.get(pooled.handle)
            if peer is not None and not peer.route.is_relayed:
                return pooled.handle
        return None

    def rtt(self, connection: ConnectionHandle) -> float | None:
        found = self._endpoint.connections.get(connection)
        return None if found is None else found.rtt

    def last_received(self, connection: ConnectionHandle) -> Instant | None:
        found = self._endpoint.connections.get(connection)
        return None if found is None else found.last_received

    def info(self, peer_id: PeerId) -> IdentifyInfo | None:
        for pooled in self._pool.peers().get(peer_id, ()):
            info = self.infos.get(pooled.handle)
            if info is not None:
                return info
        return None

    def known_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        return self._book.addresses(peer_id, now)

    def socket_addresses(self) -> dict[SocketId, UdpAddr]:
        return self._addresses.listening()

    def interface_addresses(self) -> tuple[UdpAddr, ...]:
        return self._addresses.socket_addresses()

    def seen_at(self, now: Instant) -> tuple[tuple[SocketId, UdpAddr, bool], ...]:
        return tuple(
            (socket, seen.address, seen.is_confirmed)
            for socket in self._addresses.sockets()
            for seen in self._observed.report(socket, now).addresses
        )
