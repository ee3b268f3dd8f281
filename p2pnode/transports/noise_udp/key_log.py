"""Traffic secrets for users who debug their own connections, in the manner of NSS key logs.

One line a secret: label, both connection ids of path 0 (initiator's first), the secret, in hex.
"""

from p2pnode.transports.noise_udp.connection import Opening

INITIATOR_LABEL = "NOISE_UDP_INITIATOR_SECRET"
RESPONDER_LABEL = "NOISE_UDP_RESPONDER_SECRET"


def connection_name(opening: Opening) -> str:
    """Returns a name that both ends of a connection find by themselves."""
    ours, theirs = opening.local.connection_id, opening.remote.connection_id
    first, second = (ours, theirs) if opening.is_initiator else (theirs, ours)
    return f"{first:016x}{second:016x}"


def key_log_lines(opening: Opening) -> list[str]:
    """Returns the two lines of a new connection."""
    name = connection_name(opening)
    return [
        f"{INITIATOR_LABEL} {name} {opening.secrets.initiator.hex()}",
        f"{RESPONDER_LABEL} {name} {opening.secrets.responder.hex()}",
    ]
