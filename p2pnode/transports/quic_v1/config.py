"""What the user of the transport may set.  The defaults are rows of specs/quic.md, Limits."""

from dataclasses import dataclass
from typing import Final

from p2pnode.transports.quic_v1.protection import CipherSuite
from p2pnode.transports.quic_v1.tls_engine import DEFAULT_SUITES

IDLE_TIMEOUT: Final = 30.0
"""s; go-libp2p's"""
KEEP_ALIVE: Final = 15.0
"""s; go-libp2p's: half of the idle timeout"""
HANDSHAKE_TIMEOUT: Final = 10.0
"""s; chosen: as noise-udp's"""
INITIAL_MAX_DATA: Final = 3 << 20
"""bytes; chosen: as noise-udp's"""
INITIAL_MAX_STREAM_DATA: Final = 2 << 20
"""bytes; chosen: 160 Mbit/s at 100 ms before it grows"""
MAX_STREAMS: Final = 256
"""streams; go-libp2p's and rust-libp2p's limit"""


@dataclass(frozen=True, slots=True)
class QuicConfig:
    """Durations in seconds, sizes in bytes."""

    idle_timeout: float = IDLE_TIMEOUT
    keep_alive: float = KEEP_ALIVE
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    """For a dial, and for a stranger's half-open handshake."""
    max_data: int = INITIAL_MAX_DATA
    """Connection window at the start; it grows while the application keeps up."""
    max_stream_data: int = INITIAL_MAX_STREAM_DATA
    """Stream window at the start."""
    max_streams: int = MAX_STREAMS
    """Streams that the peer may have open."""
    max_ack_delay: float = 0.025
    suites: tuple[CipherSuite, ...] = DEFAULT_SUITES
    """Best first."""
    max_udp_payload: int = 65_507
    """What fits one IPv4 packet."""
    ecn: bool = True
    pmtud: bool = True
    key_log: bool = False
