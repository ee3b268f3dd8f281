"""Makes the transport for an identity: what `p2pnode.transports.contract.TransportMaker` asks."""

from dataclasses import dataclass, replace
from random import Random

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.transports.commons import Commons
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.noise_udp.handshake import Credentials


@dataclass(frozen=True, slots=True)
class NoiseUdp:
    """noise-udp, as it is configured."""

    config: TransportConfig
    secret: bytes
    """32 bytes; kept on disk, they make tokens and stateless resets work after a restart."""
    entropy: Entropy
    rng: Random

    def __call__(
        self,
        identity: PrivateKey,
        commons: Commons,
        *,
        serves: bool,
        now: Instant,
        unix_now: UnixTime,
    ) -> Endpoint:
        return Endpoint(
            Credentials.create(identity, self.entropy),
            config=self.config if serves else replace(self.config, max_streams=0),
            secret=self.secret,
            entropy=self.entropy,
            rng=self.rng,
            now=now,
            unix_now=unix_now,
            commons=commons,
            serves=serves,
        )
