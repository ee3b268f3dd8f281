"""The transports that a node has: the one place that names them all."""

from random import Random
from typing import Final

from p2pnode.entropy import Entropy
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.maker import NoiseUdp
from p2pnode.transports.registry import Makers
from p2pnode.transports.tcp.maker import Tcp
from p2pnode.wire.transport_name import TransportName

SPOKEN: Final = (TransportName.NOISE_UDP, TransportName.TCP)
"""The names of those that `all_makers` has, the preferred one first."""


def all_makers(config: TransportConfig, *, secret: bytes, entropy: Entropy, rng: Random) -> Makers:
    """Returns what makes them.

    `secret` (32 bytes, kept on disk) makes address tokens and stateless resets work after a
    restart.
    """
    return Makers(
        over_datagrams=(NoiseUdp(config, secret, entropy, rng),),
        over_links=Tcp(entropy),
    )
