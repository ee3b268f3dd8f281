"""A whole simulated node that has the toy transport, alone or beside noise-udp."""

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.netsim.host import Host
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.testbed.sim_node import PORT, SimNode
from p2pnode.transports.contract import LinkTransport, TransportMaker
from p2pnode.transports.makers import all_makers
from p2pnode.transports.registry import Makers
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.toy_transport import ToyTransport


class ToyNode(SimNode):
    """Listens for links alone."""

    def __init__(
        self,
        host: Host,
        maker: TransportMaker[LinkTransport] = ToyTransport,
        *,
        config: SwarmConfig | None = None,
        isolates_faults: bool = False,
    ) -> None:
        self._maker = maker
        super().__init__(host, config=config, dials_back=False, isolates_faults=isolates_faults)

    def address(self, ip: str | None = None) -> Multiaddr:
        return transport_multiaddr(SocketAddr(ip or self.host.ip, PORT), TransportName.TCP)

    def _make_swarm(self, host: Host) -> Swarm:
        return self._swarm_of(host, Makers(over_links=self._maker))

    def _swarm_of(self, host: Host, makers: Makers) -> Swarm:
        return Swarm(
            self.identity,
            config=self._config,
            makers=makers,
            entropy=host.entropy,
            rng=host.rng,
            now=host.now,
            unix_now=host.unix_now,
            isolates_faults=self._isolates_faults,
        )

    def _bind(self, ip: str) -> None:
        listener, local = self.host.listen(PORT, ip), SocketAddr(ip, PORT)
        self.host.call(self.swarm.add_listener, listener, local, self.host.now)


class BothNode(ToyNode):
    """Listens for datagrams and links, and prefers the former."""

    def _make_swarm(self, host: Host) -> Swarm:
        over_udp = all_makers(
            self._transport, secret=self._secret, entropy=host.entropy, rng=host.rng
        )
        return self._swarm_of(host, Makers(over_udp.over_datagrams, self._maker))

    def _bind(self, ip: str) -> None:
        SimNode._bind(self, ip)
        super()._bind(ip)
