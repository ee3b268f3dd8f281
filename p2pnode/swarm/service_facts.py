"""What services may look up at any time: connections, peers, and this node as others see it."""

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.protocols.autonat.filtering import Filtering
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.nat_behaviour.udp_silence import Silence
from p2pnode.resources.account import Account
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.dial_back_side import DialBackSide
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.registry import Transports
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName


class ServiceFacts:
    """Read on demand; nothing is kept here."""

    def __init__(self, transports: Transports, dial_backs: DialBackSide, state: SwarmState) -> None:
        self._transports = transports
        self._dial_backs = dial_backs
        self._state = state

    @property
    def account(self) -> Account:
        """What others hold of this node."""
        return self._transports.account

    # connections

    def peers(self) -> tuple[PeerId, ...]:
        """Returns the peers that are connected."""
        return tuple(self._state.pool.peers())

    def neighbours(self) -> tuple[Peer, ...]:
        """Returns the connections that are open, the oldest first."""
        return tuple(self._state.peers.values())

    def peer(self, connection: ConnectionHandle) -> Peer | None:
        """Returns the connection as it is now, or None where it is gone."""
        state = self._state
        return state.peers.get(connection) or state.one_way.get(connection)

    def best(self, peer_id: PeerId) -> ConnectionHandle | None:
        """Returns the connection to use for a peer, or None where there is none."""
        return self._state.pool.best(peer_id)

    def direct(self, peer_id: PeerId) -> ConnectionHandle | None:
        """Returns a connection to a peer whose data goes directly, or None."""
        for pooled in self._state.pool.peers().get(peer_id, ()):
            peer = self._state.peers.get(pooled.handle)
            if peer is not None and not peer.route.is_relayed:
                return pooled.handle
        return None

    def rtt(self, connection: ConnectionHandle) -> float | None:
        """Returns the smoothed round-trip time of the path in use, in seconds."""
        found = self._transports.connections.get(connection)
        return None if found is None else found.rtt

    def last_received(self, connection: ConnectionHandle) -> Instant | None:
        """Returns when something authentic came last over the connection."""
        found = self._transports.connections.get(connection)
        return None if found is None else found.last_received

    # peers

    def info(self, peer_id: PeerId) -> IdentifyInfo | None:
        """Returns what a connected peer has said of itself by identify."""
        for pooled in self._state.pool.peers().get(peer_id, ()):
            info = self._state.infos.get(pooled.handle)
            if info is not None:
                return info
        return None

    def known_peers(self) -> tuple[PeerId, ...]:
        """Returns the peers of which the book has, or had, addresses."""
        return self._state.book.peers()

    def known_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns the addresses that the book has of a peer, best first, without its /p2p."""
        return self._state.book.addresses(peer_id, now)

    def told_addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns those that the peer said itself, or that worked: hearsay is not passed on."""
        entries = self._state.book.entries(peer_id, now)
        return tuple(e.address for e in entries if e.source is not AddressSource.HEARSAY)

    def is_dialable(self, address: Multiaddr) -> bool:
        """True for one that this node can dial itself: an IP, and a transport that it speaks."""
        parts = transport_addr(address)
        return parts is not None and parts.is_ip and parts.transport in self.transports

    # this node

    @property
    def transports(self) -> tuple[TransportName, ...]:
        """What this node speaks, the preferred one first."""
        return self._transports.names

    def socket_addresses(self) -> dict[SocketId, SocketAddr]:
        """Returns the listening sockets, with what they are bound to."""
        return self._state.addresses.listening()

    def interface_addresses(self) -> tuple[SocketAddr, ...]:
        """Returns where this node listens, an address for each interface."""
        return self._state.addresses.socket_addresses()

    def alternate_ports(self) -> tuple[int | None, int | None]:
        """Returns the ports that dial-backs leave from, for IPv4 and IPv6."""
        return self._dial_backs.ports()

    def udp_silence(self, now: Instant) -> Silence | None:
        """Returns that nothing is heard over UDP in this network, as far as that can be told."""
        over_tcp = (
            peer.route.remote.ip
            for peer in self._state.peers.values()
            if peer.transport.carrier == "tcp" and not peer.route.is_relayed
        )
        return self._state.udp_silence.found(now, over_tcp)

    def multiaddrs(self, addr: SocketAddr, socket: SocketId | None = None) -> tuple[Multiaddr, ...]:
        """Returns what it means that a socket of ours is seen at `addr`: for each transport one.

        Of a listener for links where `socket` is one.
        """
        return self._state.addresses.multiaddrs(addr, socket)

    def seen_at(self, now: Instant) -> tuple[tuple[SocketId, SocketAddr, bool], ...]:
        """Returns where peers see the listening sockets: (socket, address, is confirmed)."""
        return tuple(
            (socket, seen.address, seen.is_confirmed)
            for socket in self._state.addresses.sockets()
            for seen in self._state.observed.report(socket, now).addresses
        )

    def seen_by(self, socket: SocketId, now: Instant) -> tuple[tuple[PeerId, SocketAddr], ...]:
        """Returns which peer sees a socket where."""
        return self._state.observed.report(socket, now).evidence

    def filtering(self, now: Instant, *, ipv6: bool = False) -> Filtering:
        """Returns how the filter before this node behaves, as far as probes have shown it."""
        return self._state.reachability.filtering(now, ipv6=ipv6)

    def is_undecided(self, now: Instant) -> bool:
        """True while the node is young and does not know yet whether strangers reach it.

        Whoever is dialled meanwhile is no stranger any more: what can wait should.
        """
        return self._state.reachability.is_undecided(now)
