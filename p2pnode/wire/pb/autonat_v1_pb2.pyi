from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class AutonatV1(_message.Message):
    __slots__ = ("type", "dial", "dialResponse")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DIAL_FIELD_NUMBER: _ClassVar[int]
    DIALRESPONSE_FIELD_NUMBER: _ClassVar[int]
    type: int
    dial: bytes
    dialResponse: bytes
    def __init__(self, type: _Optional[int] = ..., dial: _Optional[bytes] = ..., dialResponse: _Optional[bytes] = ...) -> None: ...

class AutonatV1Dial(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    def __init__(self, peer: _Optional[bytes] = ...) -> None: ...

class AutonatV1PeerInfo(_message.Message):
    __slots__ = ("id", "addrs")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    addrs: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[bytes] = ..., addrs: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AutonatV1DialResponse(_message.Message):
    __slots__ = ("status", "statusText", "addr")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUSTEXT_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    status: int
    statusText: bytes
    addr: bytes
    def __init__(self, status: _Optional[int] = ..., statusText: _Optional[bytes] = ..., addr: _Optional[bytes] = ...) -> None: ...
