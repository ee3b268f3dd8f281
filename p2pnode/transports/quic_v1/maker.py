"""Makes the transport for an identity: what `p2pnode.transports.contract.TransportMaker` asks."""

from dataclasses import dataclass, replace
from random import Random

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.transports.commons import Commons
from p2pnode.transports.quic_v1.certificate import TlsCredentials
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class QuicV1:
    """quic-v1, as it is configured."""

    config: QuicConfig
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
            TlsCredentials.create(identity, self.entropy, unix_now),
            config=self.config if serves else replace(self.config, max_streams=0),
            secret=self.secret,
            entropy=self.entropy,
            rng=self.rng,
            now=now,
            unix_now=unix_now,
            commons=commons,
            serves=serves,
        )
