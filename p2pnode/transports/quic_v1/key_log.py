"""Traffic secrets for users who debug their own connections, as NSS key logs have them."""

from p2pnode.transports.quic_v1.connection import Connection
from p2pnode.transports.quic_v1.epoch import Epoch


def key_log_lines(connection: Connection) -> list[str]:
    """Returns one line a secret: label, the client's random, the secret in hex."""
    tls = connection.handshaking.tls
    lines: list[str] = []
    for epoch, is_write, _, secret in connection.handshaking.secrets:
        side = "CLIENT" if is_write == connection.is_initiator else "SERVER"
        kind = "HANDSHAKE_TRAFFIC_SECRET" if epoch is Epoch.HANDSHAKE else "TRAFFIC_SECRET_0"
        lines.append(f"{side}_{kind} {tls.client_random.hex()} {secret.hex()}")
    return lines
