"""How the end is told at each encryption level (RFC 9000 sections 10.2.3 and 19.19)."""

from typing import Final

from p2pnode.transports.datagrams.frame import ConnectionClose
from p2pnode.transports.quic_v1.quic_error_code import QuicErrorCode

_LAST_CODE: Final = 0x10
"""of RFC 9000 section 20.1, beside those of TLS"""


def close_frames(frame: ConnectionClose) -> tuple[ConnectionClose, ConnectionClose]:
    """Returns the frame for packets of the handshake, and that for 1-RTT packets.

    What RFC 9000 has no code for is an application's; before the handshake is over the peer must
    not be told what an application says, and is told that it said something.
    """
    is_tls = QuicErrorCode.CRYPTO_ERROR <= frame.code < QuicErrorCode.CRYPTO_ERROR + 0x100
    is_application = frame.is_application or not (frame.code <= _LAST_CODE or is_tls)
    if not is_application:
        return frame, frame
    early = ConnectionClose(QuicErrorCode.APPLICATION_ERROR, 0, "", is_application=False)
    return early, ConnectionClose(frame.code, 0, frame.reason, is_application=True)
