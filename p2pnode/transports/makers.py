"""The transports that a node has: the one place that names them all."""

from random import Random
from typing import Final

from p2pnode.entropy import Entropy
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.maker import NoiseUdp
from p2pnode.transports.quic_v1.config import QuicConfig
from p2pnode.transports.quic_v1.maker import QuicV1
from p2pnode.transports.registry import Makers
from p2pnode.transports.tcp.maker import Tcp
from p2pnode.wire.transport_name import TransportName

SPOKEN: Final = (TransportName.NOISE_UDP, TransportName.QUIC_V1, TransportName.TCP)
"""The names of those that `all_makers` has, the preferred one first."""


def all_makers(config: TransportConfig, *, secret: bytes, entropy: Entropy, rng: Random) -> Makers:
    """Returns what makes them.

    `secret` (32 bytes, kept on disk) makes address tokens and stateless resets work after a
    restart.
    """
    return Makers(
        over_datagrams=(
            NoiseUdp(config, secret, entropy, rng),
            QuicV1(quic_config(config), secret, entropy, rng),
        ),
        over_links=Tcp(entropy),
    )


def quic_config(config: TransportConfig) -> QuicConfig:
    """Returns QUIC's part of what a node's user has set; all else is as others have it."""
    return QuicConfig(
        max_udp_payload=config.max_udp_payload,
        ecn=config.ecn,
        pmtud=config.pmtud,
        key_log=config.key_log,
    )
