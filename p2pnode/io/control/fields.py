"""The fields of JSON objects on the control socket, checked one by one.

Rule: whatever is there, either a value of the right type comes out or DecodeError.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from p2pnode.errors import DecodeError

MAX_TEXT_SIZE = 4096  # characters of a target or a protocol id; chosen: both are far shorter

Json: TypeAlias = dict[str, Any]
Fields: TypeAlias = Mapping[str, Any]


def decode_object_untrusted(line: bytes) -> Json:
    """Returns the JSON object on a line.  Raises DecodeError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DecodeError("a line on the control socket is not JSON") from exc
    if not isinstance(value, dict):
        raise DecodeError("a line on the control socket is not a JSON object")
    return cast("Json", value)


def text_of(fields: Fields, key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise DecodeError(f"{key!r} on the control socket is not a text")
    return value


def short_text_of(fields: Fields, key: str) -> str:
    value = text_of(fields, key)
    if not 0 < len(value) <= MAX_TEXT_SIZE:
        raise DecodeError(f"{key!r} on the control socket is empty or too long")
    return value


def texts_of(fields: Fields, key: str) -> tuple[str, ...]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise DecodeError(f"{key!r} on the control socket is not a list")
    items = cast("list[object]", value)
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise DecodeError(f"{key!r} on the control socket is not a list of texts")
    return texts


def integer_of(fields: Fields, key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DecodeError(f"{key!r} on the control socket is not an integer")
    return value


def number_of(fields: Fields, key: str) -> float:
    value = fields.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DecodeError(f"{key!r} on the control socket is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DecodeError(f"{key!r} on the control socket is out of range")
    return number


def optional_flag_of(fields: Fields, key: str) -> bool | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise DecodeError(f"{key!r} on the control socket is neither true nor false")
    return value


def objects_of(fields: Fields, key: str) -> tuple[Json, ...]:
    """Returns a list of objects."""
    value = fields.get(key)
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, dict) for item in items):
        raise DecodeError(f"{key!r} on the control socket is not a list of objects")
    return tuple(cast("list[Json]", items))


def optional_text_of(fields: Fields, key: str) -> str | None:
    return None if fields.get(key) is None else text_of(fields, key)


def optional_number_of(fields: Fields, key: str) -> float | None:
    return None if fields.get(key) is None else number_of(fields, key)
