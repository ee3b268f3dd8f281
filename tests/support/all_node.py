"""A whole simulated node that speaks every transport there is, on one port of UDP and of TCP."""

from p2pnode.netsim.host import Host
from p2pnode.swarm import Swarm
from p2pnode.transports.noise_udp.maker import NoiseUdp
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.maker import QuicV1
from p2pnode.transports.registry import Makers
from p2pnode.transports.tcp.maker import Tcp
from tests.support.tcp_node import BothTcpNode


class AllNode(BothTcpNode):
    """noise-udp before quic-v1 before TCP."""

    def _make_swarm(self, host: Host) -> Swarm:
        over_datagrams = (
            NoiseUdp(self._transport, self._secret, host.entropy, host.rng),
            QuicV1(QuicConfig(), self._secret, host.entropy, host.rng),
        )
        return self._swarm_of(host, Makers(over_datagrams, Tcp(host.entropy)))
