from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class NatRequest(_message.Message):
    __slots__ = ("type", "port", "nonce")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    type: int
    port: int
    nonce: bytes
    def __init__(self, type: _Optional[int] = ..., port: _Optional[int] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class NatAnswer(_message.Message):
    __slots__ = ("status", "facts", "ip", "port")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    status: int
    facts: bytes
    ip: bytes
    port: int
    def __init__(self, status: _Optional[int] = ..., facts: _Optional[bytes] = ..., ip: _Optional[bytes] = ..., port: _Optional[int] = ...) -> None: ...

class NatFacts(_message.Message):
    __slots__ = ("mapping", "filtering", "externalIps", "udpBlocked", "observers", "probes", "alternatePort4", "alternatePort6")
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    FILTERING_FIELD_NUMBER: _ClassVar[int]
    EXTERNALIPS_FIELD_NUMBER: _ClassVar[int]
    UDPBLOCKED_FIELD_NUMBER: _ClassVar[int]
    OBSERVERS_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    ALTERNATEPORT4_FIELD_NUMBER: _ClassVar[int]
    ALTERNATEPORT6_FIELD_NUMBER: _ClassVar[int]
    mapping: int
    filtering: int
    externalIps: _containers.RepeatedScalarFieldContainer[bytes]
    udpBlocked: bool
    observers: int
    probes: int
    alternatePort4: int
    alternatePort6: int
    def __init__(self, mapping: _Optional[int] = ..., filtering: _Optional[int] = ..., externalIps: _Optional[_Iterable[bytes]] = ..., udpBlocked: bool = ..., observers: _Optional[int] = ..., probes: _Optional[int] = ..., alternatePort4: _Optional[int] = ..., alternatePort6: _Optional[int] = ...) -> None: ...
