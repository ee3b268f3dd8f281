"""Addresses as tests write them."""

from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr, transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName

NOISE_UDP, QUIC_V1, TCP = TransportName.NOISE_UDP, TransportName.QUIC_V1, TransportName.TCP


def noise_udp_multiaddr(addr: SocketAddr, peer_id: PeerId | None = None) -> Multiaddr:
    return transport_multiaddr(addr, NOISE_UDP, peer_id)


class SpokenTransports:
    """What a `ServiceFacts` says of a node's transports, for fakes of it."""

    transports: tuple[TransportName, ...] = (NOISE_UDP,)

    def multiaddrs(self, addr: SocketAddr) -> tuple[Multiaddr, ...]:
        return OwnAddresses(self.transports).multiaddrs(addr)

    def is_dialable(self, address: Multiaddr) -> bool:
        parts = transport_addr(address)
        return parts is not None and parts.is_ip and parts.transport in self.transports
