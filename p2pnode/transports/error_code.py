"""Transport error codes, as in RFC 9000 section 20.1 where the meaning is the same."""

import enum


class ErrorCode(enum.IntEnum):
    NO_ERROR = 0x00
    INTERNAL_ERROR = 0x01
    CONNECTION_REFUSED = 0x02
    FLOW_CONTROL_ERROR = 0x03
    STREAM_LIMIT_ERROR = 0x04
    STREAM_STATE_ERROR = 0x05
    FINAL_SIZE_ERROR = 0x06
    FRAME_ENCODING_ERROR = 0x07
    TRANSPORT_PARAMETER_ERROR = 0x08
    CONNECTION_ID_LIMIT_ERROR = 0x09
    PROTOCOL_VIOLATION = 0x0A
    KEY_UPDATE_ERROR = 0x0E
    AEAD_LIMIT_REACHED = 0x0F
    NO_VIABLE_PATH = 0x10
    SUPPLANTED = 0x20
    """Two dials crossed and the other connection was kept."""
    SHUTDOWN = 0x21
    """The node is going away."""
    EXCESSIVE_LOAD = 0x22
    """The peer asks for more than its share, or its place is needed for others."""
    ENHANCE_YOUR_CALM = 0x23
    """The peer goes on making work beyond its budget; HTTP/2's name for it (RFC 9113)."""
