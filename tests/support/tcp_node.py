"""A whole simulated node that talks libp2p over TCP, alone."""

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.netsim.host import Host
from p2pnode.swarm import SwarmConfig
from p2pnode.transports.commons import Commons
from p2pnode.transports.tcp.maker import Tcp
from p2pnode.transports.tcp.transport import TcpTransport
from tests.support.toy_node import BothNode, ToyNode


class KnownTcp:
    """A maker that knows what it has made."""

    def __init__(self, entropy: Entropy) -> None:
        self.made: list[TcpTransport] = []
        self._maker = Tcp(entropy)

    def __call__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        serves: bool,
        now: Instant,
        unix_now: UnixTime,
    ) -> TcpTransport:
        made = self._maker(identity, commons, serves=serves, now=now, unix_now=unix_now)
        self.made.append(made)
        return made


class TcpNode(ToyNode):
    """Listens for links, and upgrades them."""

    def __init__(self, host: Host, *, isolates_faults: bool = False) -> None:
        self._known = KnownTcp(host.entropy)
        super().__init__(host, self._known, isolates_faults=isolates_faults)

    @property
    def transport(self) -> TcpTransport:
        """The node's own, not that of its dial-backs."""
        return self._known.made[0]


class BothTcpNode(BothNode):
    """Listens for datagrams too, and prefers them."""

    def __init__(
        self, host: Host, *, config: SwarmConfig | None = None, isolates_faults: bool = False
    ) -> None:
        super().__init__(host, Tcp(host.entropy), config=config, isolates_faults=isolates_faults)
