"""What applications may give, looked at when they give it.

Rule: a wrong type is a TypeError, a wrong value an ArgumentError, and both are raised by the call
that was wrong, before it does anything; what fails later could not be told from a fault of ours.
"""

import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias, cast

from p2pnode.errors import AddressError, ArgumentError
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.multistream.messages import (
    MAX_MESSAGE_SIZE,
    MULTISTREAM_PROTOCOL,
    NOT_AVAILABLE,
)

PathLike: TypeAlias = str | os.PathLike[str]

MAX_CODE: Final = (1 << 62) - 1
"""of errors of an application: a varint (RFC 9000 section 20.2)"""

_PROTOCOLS_KNOWN: Final = 64
"""protocol ids that were looked at and need not be again; chosen: those of one application"""
_RESERVED: Final = (MULTISTREAM_PROTOCOL, NOT_AVAILABLE, "ls")  # words of multistream-select


def check_type(name: str, value: object, *kinds: type) -> None:
    """Raises TypeError; True and False are no numbers."""
    is_bool = isinstance(value, bool) and bool not in kinds
    if is_bool or not isinstance(value, kinds):
        wanted = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def check_protocol(protocol: object) -> None:
    """Raises TypeError, and ArgumentError for what multistream-select cannot propose."""
    check_type("a protocol id", protocol, str)
    assert isinstance(protocol, str)
    try:
        size = len(protocol.encode())
    except UnicodeEncodeError as exc:
        raise ArgumentError(f"{protocol!r} is no protocol id: it is not UTF-8") from exc
    if not protocol or "\n" in protocol or protocol in _RESERVED or size >= MAX_MESSAGE_SIZE:
        raise ArgumentError(
            f"{protocol[:80]!r} is no protocol id: one looks like /echo/1.0.0, on one line of less "
            f"than {MAX_MESSAGE_SIZE} bytes"
        )


def protocol_ids(protocol: object) -> tuple[str, ...]:
    """Returns one or several protocol ids as a tuple.  Raises TypeError or ArgumentError."""
    if isinstance(protocol, str):
        return _only(protocol)
    if isinstance(protocol, Sequence) and not isinstance(protocol, (bytes, bytearray)):
        protocols = cast("Sequence[object]", protocol)
    else:
        raise TypeError(f"protocols must be text or a sequence of it, not {_kind(protocol)}")
    wanted: list[str] = []
    for one in protocols:
        check_protocol(one)
        wanted.append(str(one))
    if not wanted:
        raise ArgumentError("no protocol was named")
    return tuple(wanted)


@lru_cache(maxsize=_PROTOCOLS_KNOWN)
def _only(protocol: str) -> tuple[str]:
    check_protocol(protocol)
    return (str(protocol),)


def check_handler(handler: Callable[..., object], max_streams: int) -> None:
    """Raises TypeError or ArgumentError."""
    if not callable(handler):
        raise TypeError(f"a handler must be an async function, not {_kind(handler)}")
    check_number("max_streams", max_streams, least=1)


def check_number(name: str, value: object, *, least: int, most: float = math.inf) -> None:
    """Raises TypeError for what is no whole number, ArgumentError for one out of range."""
    check_type(name, value, int)
    assert isinstance(value, int)
    if not least <= value <= most:
        limit = f"at least {least}" if value < least else f"at most {most:.0f}"
        raise ArgumentError(f"{name} must be {limit}, not {value}")


def check_seconds(name: str, value: object) -> None:
    """Raises TypeError or ArgumentError."""
    check_type(name, value, int, float)
    assert isinstance(value, (int, float))
    if not 0 <= value < math.inf:
        raise ArgumentError(f"{name} must be a time in seconds, not {value}")


def check_peer(peer: object) -> None:
    """Raises TypeError."""
    if not isinstance(peer, PeerId):
        raise TypeError(f"a peer is named by its PeerId, as `connect` returns it: {_kind(peer)}")


def given_peer_id(peer: object) -> PeerId:
    """Returns the id that an application gave, as text perhaps.

    Raises TypeError, and ArgumentError for text that is none.
    """
    if not isinstance(peer, str):
        check_peer(peer)
        assert isinstance(peer, PeerId)
        return peer
    try:
        return PeerId.parse(peer)
    except AddressError as exc:
        raise ArgumentError(str(exc)) from exc


def check_goodbye(code: object, reason: object) -> None:
    """Raises TypeError or ArgumentError."""
    check_number("code", code, least=0, most=MAX_CODE)
    check_type("reason", reason, str)


def check_addresses(name: str, addresses: object) -> None:
    """Raises TypeError: text alone is a sequence as well, of letters."""
    if isinstance(addresses, (str, bytes)) or not isinstance(addresses, Sequence):
        raise TypeError(f"{name} must be a list of addresses, not {_kind(addresses)}")


def optional_path(name: str, value: PathLike | None) -> Path | None:
    """Returns the path.  Raises TypeError, and ArgumentError for an empty one."""
    if value is None:
        return None
    check_type(name, value, str, os.PathLike)
    if value == "":
        raise ArgumentError(f"{name} must not be empty; Path() is the current folder")
    return Path(value)


def _kind(value: object) -> str:
    return type(value).__name__
