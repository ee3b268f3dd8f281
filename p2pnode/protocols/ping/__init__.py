"""libp2p ping: is the peer there, and how far away (specs/ping.md)."""

from p2pnode.protocols.ping.dialogue import (
    PingEvent,
    PingFailed,
    PingRequester,
    PingResponder,
    Pong,
)

__all__ = ["PROTOCOL_ID", "PingEvent", "PingFailed", "PingRequester", "PingResponder", "Pong"]

PROTOCOL_ID = "/ipfs/ping/1.0.0"
MAX_INBOUND_STREAMS_PER_PEER = 2  # ping.md: the listener tolerates two
