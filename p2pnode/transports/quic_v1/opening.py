"""What a connection begins with."""

from typing import Final, NamedTuple

from p2pnode.identity.peer_id import PeerId
from p2pnode.transports.quic_v1.parameters import TransportParameters
from p2pnode.transports.quic_v1.tls_engine import TlsEngine
from p2pnode.transports.route import Route

NO_ANSWER: Final = "no answer"
"""The reason of a dial to which nothing came back; whoever speaks to people explains it."""


class Opening(NamedTuple):
    """Of either role."""

    tls: TlsEngine
    local: TransportParameters
    route: Route
    source: int
    """Our connection id."""
    destination: bytes
    """Where the client's first Initial went, that this side knows of: its keys come from there."""
    peer_source: bytes
    """Of the peer's first Initial; empty where that is still to come."""
    is_proven: bool
    """Whether the peer is known to receive at its address."""
    own_id: PeerId
    timeout: float
    """seconds until the handshake has to be over"""
    token: bytes = b""
    """Of a client: what the server gave for its address earlier."""
