"""A connection and the peer at its other end, as a fact."""

from typing import NamedTuple

from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import ConnectionHandle
from p2pnode.transports.route import Route
from p2pnode.wire.ip_ranges import IpScope, ip_scope
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName


class Peer(NamedTuple):
    """A connection, for those who may only know of it."""

    connection: ConnectionHandle
    peer_id: PeerId
    route: Route
    """Where its data goes now."""
    is_initiator: bool
    """Whether this node began its handshake."""
    transport: TransportName

    @property
    def address(self) -> Multiaddr:
        """Where it is reached, or its relay: what its packets come from."""
        return transport_multiaddr(self.route.remote._replace(scope_id=0), self.transport)

    @property
    def is_over_udp(self) -> bool:
        """Whether datagrams reach it by its route, those of circuits too."""
        return self.transport.carrier == "udp"

    @property
    def direct_ip(self) -> str | None:
        """Where it is; None for one behind a relay."""
        return None if self.route.is_relayed else self.route.remote.ip

    @property
    def public_ip(self) -> str | None:
        """Where it is seen directly in public, or None where it is not."""
        ip = self.direct_ip
        try:
            return ip if ip is not None and ip_scope(ip) is IpScope.PUBLIC else None
        except AddressError:
            return None
