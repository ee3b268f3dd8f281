"""What is asked of a running node over its control socket, and what it answers (specs/control.md).

Rule: each request and each report is one JSON object on one line, and a value of this module on
both sides.  Whoever can open the socket is the node's own user; requests are checked all the same,
so that a bug over there ends in an error message rather than here.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, cast

from p2pnode.errors import DecodeError, P2PNodeError, ProtocolNotSupported

MAX_REQUEST_SIZE = 16 * 1024  # bytes; chosen: a multiaddr and a protocol id, many times over
MAX_REPORT_SIZE = 256 * 1024  # bytes; identify has at most 64 KiB, and JSON may escape each byte
MAX_TEXT_SIZE = 4096  # characters of a target or a protocol id; chosen: both are far shorter
MIN_PING_INTERVAL = 0.01  # seconds; chosen: a test of the path, not a load on it
MAX_PING_INTERVAL = 86400.0  # seconds; chosen: a day
MAX_PING_COUNT = 1_000_000_000  # chosen: as good as for ever


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """Who is it that runs there?"""


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Pings a peer; answered by a report a ping, until the count or the client's end."""

    target: str
    count: int | None
    interval: float
    """Seconds from ping to ping."""


@dataclass(frozen=True, slots=True)
class IdentifyRequest:
    """What does the peer say of itself?"""

    target: str


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """Which way do packets to a connected peer go now?"""

    peer: str


@dataclass(frozen=True, slots=True)
class OpenStreamRequest:
    """Opens a stream; after the report the connection carries it (`control_channel`)."""

    target: str
    protocol: str


ControlRequest: TypeAlias = (
    InfoRequest | PingRequest | IdentifyRequest | RouteRequest | OpenStreamRequest
)


@dataclass(frozen=True, slots=True)
class InfoReport:
    """The running node."""

    peer_id: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteReport:
    """The way to a peer."""

    peer: str
    path: str
    """"direct" or "relayed"."""
    via: str
    """The multiaddr that packets go to."""


@dataclass(frozen=True, slots=True)
class PingReport:
    """What became of one ping."""

    peer: str
    seq: int
    """Counts from 1."""
    rtt: float | None
    """Seconds; None where the ping was lost."""
    path: str
    via: str
    loss: str
    """Why it was lost; empty where it was not."""


@dataclass(frozen=True, slots=True)
class IdentifyReport:
    """What a peer says of itself; of any content."""

    peer_id: str
    observed_addr: str | None
    listen_addrs: tuple[str, ...]
    protocols: tuple[str, ...]
    agent_version: str
    protocol_version: str


Report: TypeAlias = InfoReport | RouteReport | PingReport | IdentifyReport
Json: TypeAlias = dict[str, Any]


def encode_request(request: ControlRequest) -> Json:
    """Returns the object for the line."""
    return {"op": _OP_OF[type(request)], **asdict(request)}


def decode_request_untrusted(line: bytes) -> ControlRequest:
    """Raises DecodeError for anything but a complete request."""
    fields = decode_object_untrusted(line)
    parse = _PARSERS.get(_text(fields, "op"))
    if parse is None:
        raise DecodeError("this node does not know that operation; is it an older version?")
    return parse(fields)


def encode_error(exc: P2PNodeError) -> Json:
    """Returns the object for the line that ends a request that failed."""
    protocols = list(exc.protocols) if isinstance(exc, ProtocolNotSupported) else None
    return {"error": str(exc), "not_supported": protocols}


def decode_error_untrusted(fields: Mapping[str, Any]) -> P2PNodeError:
    """Returns what the node raised, as far as callers tell such errors apart."""
    if isinstance(fields.get("not_supported"), list):
        return ProtocolNotSupported(_texts(fields, "not_supported"))
    return P2PNodeError(_text(fields, "error"))


def decode_info_untrusted(fields: Mapping[str, Any]) -> InfoReport:
    """Raises DecodeError for a report that is not complete."""
    return InfoReport(_text(fields, "peer_id"), _texts(fields, "addresses"))


def decode_route_untrusted(fields: Mapping[str, Any]) -> RouteReport:
    """Raises DecodeError for a report that is not complete."""
    return RouteReport(_text(fields, "peer"), _text(fields, "path"), _text(fields, "via"))


def decode_ping_untrusted(fields: Mapping[str, Any]) -> PingReport:
    """Raises DecodeError for a report that is not complete."""
    rtt = None if fields.get("rtt") is None else _number(fields, "rtt")
    return PingReport(
        peer=_text(fields, "peer"),
        seq=_integer(fields, "seq"),
        rtt=rtt,
        path=_text(fields, "path"),
        via=_text(fields, "via"),
        loss=_text(fields, "loss"),
    )


def decode_identify_untrusted(fields: Mapping[str, Any]) -> IdentifyReport:
    """Raises DecodeError for a report that is not complete."""
    observed = None if fields.get("observed_addr") is None else _text(fields, "observed_addr")
    return IdentifyReport(
        peer_id=_text(fields, "peer_id"),
        observed_addr=observed,
        listen_addrs=_texts(fields, "listen_addrs"),
        protocols=_texts(fields, "protocols"),
        agent_version=_text(fields, "agent_version"),
        protocol_version=_text(fields, "protocol_version"),
    )


def decode_object_untrusted(line: bytes) -> Json:
    """Returns the JSON object on a line.  Raises DecodeError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DecodeError("a line on the control socket is not JSON") from exc
    if not isinstance(value, dict):
        raise DecodeError("a line on the control socket is not a JSON object")
    return cast("Json", value)


def _parse_ping(fields: Mapping[str, Any]) -> PingRequest:
    count = None if fields.get("count") is None else _integer(fields, "count")
    interval = _number(fields, "interval")
    if count is not None and not 1 <= count <= MAX_PING_COUNT:
        raise DecodeError("the count of pings is out of range")
    if not MIN_PING_INTERVAL <= interval <= MAX_PING_INTERVAL:
        raise DecodeError("the interval between pings is out of range")
    return PingRequest(_short_text(fields, "target"), count, interval)


_PARSERS: dict[str, Callable[[Mapping[str, Any]], ControlRequest]] = {
    "info": lambda fields: InfoRequest(),
    "ping": _parse_ping,
    "identify": lambda fields: IdentifyRequest(_short_text(fields, "target")),
    "route": lambda fields: RouteRequest(_short_text(fields, "peer")),
    "open_stream": lambda fields: OpenStreamRequest(
        _short_text(fields, "target"), _short_text(fields, "protocol")
    ),
}
_OP_OF: dict[type[ControlRequest], str] = {
    InfoRequest: "info",
    PingRequest: "ping",
    IdentifyRequest: "identify",
    RouteRequest: "route",
    OpenStreamRequest: "open_stream",
}


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise DecodeError(f"{key!r} on the control socket is not a text")
    return value


def _short_text(fields: Mapping[str, Any], key: str) -> str:
    value = _text(fields, key)
    if not 0 < len(value) <= MAX_TEXT_SIZE:
        raise DecodeError(f"{key!r} on the control socket is empty or too long")
    return value


def _texts(fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise DecodeError(f"{key!r} on the control socket is not a list")
    items = cast("list[object]", value)
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise DecodeError(f"{key!r} on the control socket is not a list of texts")
    return texts


def _integer(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DecodeError(f"{key!r} on the control socket is not an integer")
    return value


def _number(fields: Mapping[str, Any], key: str) -> float:
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
