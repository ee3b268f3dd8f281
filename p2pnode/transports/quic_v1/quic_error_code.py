"""The error codes of QUIC that other transports have no use for (RFC 9000 section 20.1)."""

import enum


class QuicErrorCode(enum.IntEnum):
    """The others are in `p2pnode.transports.error_code`, with QUIC's numbers."""

    INVALID_TOKEN = 0x0B
    APPLICATION_ERROR = 0x0C
    """In place of an application's own code, where the keys are not yet the application's."""
    CRYPTO_BUFFER_EXCEEDED = 0x0D
    CRYPTO_ERROR = 0x0100
    """To be added to the number of a TLS alert, up to 0x01ff."""
