from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class FileOffer(_message.Message):
    __slots__ = ("name", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    size: int
    def __init__(self, name: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class FileReply(_message.Message):
    __slots__ = ("status", "reason")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNUSED: _ClassVar[FileReply.Status]
        OK: _ClassVar[FileReply.Status]
        REFUSED: _ClassVar[FileReply.Status]
        BUSY: _ClassVar[FileReply.Status]
        NO_SPACE: _ClassVar[FileReply.Status]
        WRITE_FAILED: _ClassVar[FileReply.Status]
        DIGEST_MISMATCH: _ClassVar[FileReply.Status]
        BAD_MESSAGE: _ClassVar[FileReply.Status]
        TIMED_OUT: _ClassVar[FileReply.Status]
        SHUTTING_DOWN: _ClassVar[FileReply.Status]
    UNUSED: FileReply.Status
    OK: FileReply.Status
    REFUSED: FileReply.Status
    BUSY: FileReply.Status
    NO_SPACE: FileReply.Status
    WRITE_FAILED: FileReply.Status
    DIGEST_MISMATCH: FileReply.Status
    BAD_MESSAGE: FileReply.Status
    TIMED_OUT: FileReply.Status
    SHUTTING_DOWN: FileReply.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: int
    reason: bytes
    def __init__(self, status: _Optional[int] = ..., reason: _Optional[bytes] = ...) -> None: ...

class FileDigest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    def __init__(self, sha256: _Optional[bytes] = ...) -> None: ...
