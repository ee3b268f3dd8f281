from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class DialBackTalk(_message.Message):
    __slots__ = ("ask", "offer", "choice", "report")
    ASK_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ask: bytes
    offer: bytes
    choice: bytes
    report: bytes
    def __init__(self, ask: _Optional[bytes] = ..., offer: _Optional[bytes] = ..., choice: _Optional[bytes] = ..., report: _Optional[bytes] = ...) -> None: ...

class DialBackAsk(_message.Message):
    __slots__ = ("address", "padding")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    padding: bytes
    def __init__(self, address: _Optional[bytes] = ..., padding: _Optional[bytes] = ...) -> None: ...

class DialBackOffer(_message.Message):
    __slots__ = ("helperIps",)
    HELPERIPS_FIELD_NUMBER: _ClassVar[int]
    helperIps: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, helperIps: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DialBackChoice(_message.Message):
    __slots__ = ("nonces",)
    NONCES_FIELD_NUMBER: _ClassVar[int]
    nonces: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, nonces: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DialBackReport(_message.Message):
    __slots__ = ("helper", "status")
    HELPER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    helper: int
    status: int
    def __init__(self, helper: _Optional[int] = ..., status: _Optional[int] = ...) -> None: ...

class DialBackOrder(_message.Message):
    __slots__ = ("address", "nonce", "asker", "helperIp")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ASKER_FIELD_NUMBER: _ClassVar[int]
    HELPERIP_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    nonce: bytes
    asker: bytes
    helperIp: bytes
    def __init__(self, address: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., asker: _Optional[bytes] = ..., helperIp: _Optional[bytes] = ...) -> None: ...

class DialBackDone(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: int
    def __init__(self, status: _Optional[int] = ...) -> None: ...
