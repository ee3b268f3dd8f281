"""What several parts of a swarm need: each is written by one of them, and read as facts."""

from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.autonat import ContactLog
from p2pnode.protocols.identify import IdentifyInfo, ObservedAddressBook
from p2pnode.protocols.nat_behaviour.udp_silence import UdpSilence
from p2pnode.protocols.nat_behaviour.why import PunchAttempts
from p2pnode.swarm.address_book import AddressBook
from p2pnode.swarm.byte_counts import ByteCounts
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.connection_pool import ConnectionPool
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.reachability import OwnReachability
from p2pnode.swarm.self_description import SelfDescription
from p2pnode.transports.route import Route
from p2pnode.wire.transport_name import TransportName


class SwarmState:
    """Plain stores, none of which knows another."""

    def __init__(
        self,
        identity: PrivateKey,
        own_id: PeerId,
        config: SwarmConfig,
        transports: tuple[TransportName, ...],
        *,
        now: Instant,
        unix_now: UnixTime,
    ) -> None:
        self.own_id = own_id
        self.peers = dict[ConnectionHandle, Peer]()
        """Connections that are open."""
        self.one_way = dict[ConnectionHandle, Peer]()
        """Connections of those who came for something of their own: dial-backs."""
        self.infos = dict[ConnectionHandle, IdentifyInfo]()
        """What the peer of each connection has said of itself."""
        self.pool = ConnectionPool(own_id)
        self.book = AddressBook()
        self.addresses = OwnAddresses(transports)
        self.observed = ObservedAddressBook()
        self.reachability = OwnReachability()
        self.contacts = ContactLog(began_at=now)
        self.description = SelfDescription(identity, config, self.addresses, unix_now - now)
        self.circuits = Circuits(self.route_of)
        self.attempts = PunchAttempts()
        self.byte_counts = ByteCounts()
        self.udp_silence = UdpSilence()

    def route_of(self, connection: ConnectionHandle) -> Route | None:
        """Returns the path in use of an open connection."""
        peer = self.peers.get(connection)
        return None if peer is None else peer.route
