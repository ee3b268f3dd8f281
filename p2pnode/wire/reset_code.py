"""Why a stream is given up: libp2p's stream error codes, carried by RESET_STREAM and STOP_SENDING.

Rule: the numbers are libp2p's own; an application may use any code of its own above them.
"""

import enum


class StreamResetCode(enum.IntEnum):
    """The codes of the libp2p error code registry for streams."""

    NONE = 0
    NEGOTIATION_FAILED = 0x1001
    RESOURCE_LIMIT = 0x1002
    RATE_LIMITED = 0x1003
    PROTOCOL_VIOLATION = 0x1004
    SUPPLANTED = 0x1005
    GARBAGE_COLLECTED = 0x1006
    SHUTDOWN = 0x1007
    GATED = 0x1008
    CODE_OUT_OF_RANGE = 0x1009


RETRIABLE = frozenset({StreamResetCode.RESOURCE_LIMIT, StreamResetCode.RATE_LIMITED})
"""What the registry lets be tried again, after a while."""
