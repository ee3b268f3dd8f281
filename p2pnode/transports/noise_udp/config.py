"""What the user of the transport may set.  The defaults are rows of specs/transport.md, Limits."""

from dataclasses import dataclass
from typing import Final

from p2pnode.transports.noise_udp.aead import DEFAULT_PREFERENCE, Aead

MAX_UDP_PAYLOAD: Final = 65_507
"""bytes: what fits one IPv4 packet"""


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """Durations in seconds, sizes in bytes."""

    idle_timeout: float = 45.0
    """Chosen: the keep-alive and two probes for it fit in."""
    keep_alive: float = 25.0
    """Firezone's and WireGuard's value: below the 30 s after which many NATs forget a flow."""
    handshake_timeout: float = 10.0
    """For a dial, and for a stranger's half-open handshake."""
    max_data: int = 3 << 20
    """Connection window at the start; it grows while the application keeps up."""
    max_stream_data: int = 2 << 20
    """Stream window at the start: 160 Mbit/s at 100 ms before it grows."""
    max_streams: int = 256
    """Streams that the peer may have open; go-libp2p's and rust-libp2p's QUIC limit."""
    max_datagram_frame: int = 65_000
    max_path_id: int = 8
    """Highest path id at the start; it rises as paths are abandoned, so it bounds those alive."""
    max_ack_delay: float = 0.025
    aeads: tuple[Aead, ...] = DEFAULT_PREFERENCE
    """Best first."""
    max_udp_payload: int = MAX_UDP_PAYLOAD
    ecn: bool = True
    pmtud: bool = True
    key_log: bool = False
    qlog: bool = False
