"""What ends a dial beside its handshake: other versions, and what the system says of packets."""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.errors import DecodeError, DialError, HandshakeError
from p2pnode.machine import Obstacle, Unreachable
from p2pnode.transports.datagrams.obstacles import obstacle_text
from p2pnode.transports.quic_v1.connection import Connection
from p2pnode.transports.quic_v1.packet import (
    VERSION,
    Invariants,
    decode_version_negotiation_untrusted,
)

UNREACHABLE_GRACE: Final = 1.0
"""seconds that the peer has left to answer once somebody else said that the packet did not arrive;
chosen: the first probe timeout, and its answer has as long as any"""
ID_AT: Final = 6
"""Where the id that an Initial goes to begins: nobody knows it who did not see the packet."""
_AT_ONCE: Final = (Obstacle.NO_ROUTE, Obstacle.TOO_BIG)


def take_versions_untrusted(
    connection: Connection, datagram: bytes, header: Invariants, now: Instant
) -> None:
    """Takes a Version Negotiation for a dial (RFC 9000 section 6.2)."""
    if header.source != connection.remote_ids.current:
        return
    try:
        versions = decode_version_negotiation_untrusted(datagram, header.end)
    except DecodeError:
        return
    if VERSION not in versions:
        error = HandshakeError("the peer does not speak version 1 of QUIC")
        connection.handle_version_negotiation(error, now)


def take_unreachable_untrusted(connection: Connection, report: Unreachable, now: Instant) -> bool:
    """Takes what is said of a datagram; returns whether it was an Initial of this dial."""
    destination = connection.remote_ids.current
    quoted = report.beginning[ID_AT : ID_AT + len(destination)]
    if (report.socket, report.remote) != connection.route.key or quoted != destination:
        return False
    if connection.packets_received:
        return True
    connection.failure = DialError(obstacle_text(report))
    is_certain = report.is_local and report.obstacle in _AT_ONCE
    grace = 0.0 if is_certain else UNREACHABLE_GRACE
    connection.deadline = min(connection.deadline, now + grace)
    return True
