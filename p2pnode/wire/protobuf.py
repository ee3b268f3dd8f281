"""The one door between our codecs and the protobuf runtime.

Rule: `parse_untrusted` raises DecodeError only, and the callers bound the size beforehand; messages
leave this package as our own values, never as protobuf objects.
"""

from typing import TypeVar

from google.protobuf import message

from p2pnode.errors import DecodeError

MessageT = TypeVar("MessageT", bound=message.Message)


def parse_untrusted(into: MessageT, data: bytes, what: str) -> MessageT:
    """Fills the empty message `into` from `data` and returns it.

    `what` names the message in the DecodeError.  Unknown fields are accepted, as protobuf demands;
    who needs canonical bytes compares them with a new encoding.
    """
    try:
        into.ParseFromString(data)
    except (message.DecodeError, ValueError) as exc:  # ValueError: the pure Python runtime, UTF-8
        raise DecodeError(f"{what} is not a valid protobuf message") from exc
    if not into.IsInitialized():  # parsing alone does not ask for required fields
        raise DecodeError(f"{what} lacks a required field")
    return into
