from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CircuitMessage(_message.Message):
    __slots__ = ("type", "peer", "circuit_id", "limit", "status", "grace_ms")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    type: int
    peer: bytes
    circuit_id: bytes
    limit: bytes
    status: int
    grace_ms: int
    def __init__(self, type: _Optional[int] = ..., peer: _Optional[bytes] = ..., circuit_id: _Optional[bytes] = ..., limit: _Optional[bytes] = ..., status: _Optional[int] = ..., grace_ms: _Optional[int] = ...) -> None: ...

class DatagramLimit(_message.Message):
    __slots__ = ("rate", "duration", "data")
    RATE_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    rate: int
    duration: int
    data: int
    def __init__(self, rate: _Optional[int] = ..., duration: _Optional[int] = ..., data: _Optional[int] = ...) -> None: ...
