"""Makes the transport for an identity: what `p2pnode.transports.contract.TransportMaker` asks."""

from dataclasses import dataclass

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.transports.commons import Commons
from p2pnode.transports.tcp.transport import TcpTransport


@dataclass(frozen=True, slots=True)
class Tcp:
    """libp2p's TCP."""

    entropy: Entropy

    def __call__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        serves: bool,
        now: Instant,
        unix_now: UnixTime,
    ) -> TcpTransport:
        del now, unix_now
        return TcpTransport(identity, commons, entropy=self.entropy, serves=serves)
