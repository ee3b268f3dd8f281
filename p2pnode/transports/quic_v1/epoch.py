"""The encryption levels of a connection (RFC 9001 section 2.1).

Each has keys of its own, a packet number space and a stream of CRYPTO frames.  0-RTT is not among
them: this transport neither sends nor takes it.
"""

import enum


class Epoch(enum.IntEnum):
    """In the order in which a handshake goes through them."""

    INITIAL = 0
    HANDSHAKE = 1
    APPLICATION = 2
    """1-RTT."""
