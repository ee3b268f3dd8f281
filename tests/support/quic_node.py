"""A whole simulated node that speaks quic-v1 alone."""

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.netsim.host import Host
from p2pnode.swarm import Swarm
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.transports.contract import DatagramTransport, TransportMaker
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.maker import QuicV1
from p2pnode.transports.registry import Makers
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName


class QuicNode(SimNode):
    """Listens for QUIC."""

    def address(self, ip: str | None = None) -> Multiaddr:
        return transport_multiaddr(SocketAddr(ip or self.host.ip, PORT), TransportName.QUIC_V1)

    def _maker(self, host: Host) -> TransportMaker[DatagramTransport]:
        return QuicV1(QuicConfig(), self._secret, host.entropy, host.rng)

    def _make_swarm(self, host: Host) -> Swarm:
        return Swarm(
            self.identity,
            config=self._config,
            makers=Makers(over_datagrams=(self._maker(host),)),
            entropy=host.entropy,
            rng=host.rng,
            now=host.now,
            unix_now=host.unix_now,
        )
