"""What is asked of a running node over its control socket, and what it answers (specs/control.md).

Rule: each request and each report is one JSON object on one line, and a value of this module on
both sides.  Whoever can open the socket is the node's own user; requests are checked all the same,
so that a bug over there ends in an error message rather than here.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeAlias

from p2pnode.errors import DecodeError, P2PNodeError, PeerBusy, ProtocolNotSupported
from p2pnode.io.control.fields import (
    Fields,
    Json,
    decode_object_untrusted,
    integer_of,
    number_of,
    optional_flag_of,
    optional_number_of,
    optional_text_of,
    short_text_of,
    text_of,
    texts_of,
)
from p2pnode.io.control.status import StatusReport, WhyReport

MAX_REQUEST_SIZE = 16 * 1024  # bytes; chosen: a multiaddr and a protocol id, many times over
MAX_REPORT_SIZE = 1024 * 1024  # bytes; a status with MAX_LISTED of all has half of that
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


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """What does the node know of itself: who reaches it how, and who helps whom?"""


@dataclass(frozen=True, slots=True)
class WhyRequest:
    """Why do packets to a peer go the way they go?  Connects with it first."""

    target: str


ControlRequest: TypeAlias = (
    InfoRequest
    | PingRequest
    | IdentifyRequest
    | RouteRequest
    | OpenStreamRequest
    | StatusRequest
    | WhyRequest
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
    transport: str | None
    """Its name, such as noise-udp; None where the node that tells is of 0.2.0 or before."""
    limited: bool | None
    """Whether a relay will end the connection after some bytes or some time; None likewise."""


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
    transport: str | None
    limited: bool | None
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


Report: TypeAlias = (
    InfoReport | RouteReport | PingReport | IdentifyReport | StatusReport | WhyReport
)


def encode_request(request: ControlRequest) -> Json:
    """Returns the object for the line."""
    return {"op": _OP_OF[type(request)], **asdict(request)}


def decode_request_untrusted(line: bytes) -> ControlRequest:
    """Raises DecodeError for anything but a complete request."""
    fields = decode_object_untrusted(line)
    parse = _PARSERS.get(text_of(fields, "op"))
    if parse is None:
        raise DecodeError("this node does not know that operation; is it an older version?")
    return parse(fields)


def encode_error(exc: P2PNodeError) -> Json:
    """Returns the object for the line that ends a request that failed."""
    not_supported = list(exc.protocols) if isinstance(exc, ProtocolNotSupported) else None
    busy = list(exc.protocols) if isinstance(exc, PeerBusy) else None
    return {"error": str(exc), "not_supported": not_supported, "busy": busy}


def decode_error_untrusted(fields: Fields) -> P2PNodeError:
    """Returns what the node raised, as far as callers tell such errors apart."""
    if isinstance(fields.get("not_supported"), list):
        return ProtocolNotSupported(texts_of(fields, "not_supported"))
    if isinstance(fields.get("busy"), list):
        return PeerBusy(texts_of(fields, "busy"))
    return P2PNodeError(text_of(fields, "error"))


def decode_info_untrusted(fields: Fields) -> InfoReport:
    """Raises DecodeError for a report that is not complete."""
    return InfoReport(text_of(fields, "peer_id"), texts_of(fields, "addresses"))


def decode_route_untrusted(fields: Fields) -> RouteReport:
    """Raises DecodeError for a report that is not complete."""
    return RouteReport(
        peer=text_of(fields, "peer"),
        path=text_of(fields, "path"),
        via=text_of(fields, "via"),
        transport=optional_text_of(fields, "transport"),
        limited=optional_flag_of(fields, "limited"),
    )


def decode_ping_untrusted(fields: Fields) -> PingReport:
    """Raises DecodeError for a report that is not complete."""
    return PingReport(
        peer=text_of(fields, "peer"),
        seq=integer_of(fields, "seq"),
        rtt=optional_number_of(fields, "rtt"),
        path=text_of(fields, "path"),
        via=text_of(fields, "via"),
        transport=optional_text_of(fields, "transport"),
        limited=optional_flag_of(fields, "limited"),
        loss=text_of(fields, "loss"),
    )


def decode_identify_untrusted(fields: Fields) -> IdentifyReport:
    """Raises DecodeError for a report that is not complete."""
    return IdentifyReport(
        peer_id=text_of(fields, "peer_id"),
        observed_addr=optional_text_of(fields, "observed_addr"),
        listen_addrs=texts_of(fields, "listen_addrs"),
        protocols=texts_of(fields, "protocols"),
        agent_version=text_of(fields, "agent_version"),
        protocol_version=text_of(fields, "protocol_version"),
    )


def _parse_ping(fields: Fields) -> PingRequest:
    count = None if fields.get("count") is None else integer_of(fields, "count")
    interval = number_of(fields, "interval")
    if count is not None and not 1 <= count <= MAX_PING_COUNT:
        raise DecodeError("the count of pings is out of range")
    if not MIN_PING_INTERVAL <= interval <= MAX_PING_INTERVAL:
        raise DecodeError("the interval between pings is out of range")
    return PingRequest(short_text_of(fields, "target"), count, interval)


_PARSERS: dict[str, Callable[[Fields], ControlRequest]] = {
    "info": lambda fields: InfoRequest(),
    "ping": _parse_ping,
    "identify": lambda fields: IdentifyRequest(short_text_of(fields, "target")),
    "route": lambda fields: RouteRequest(short_text_of(fields, "peer")),
    "open_stream": lambda fields: OpenStreamRequest(
        short_text_of(fields, "target"), short_text_of(fields, "protocol")
    ),
    "status": lambda fields: StatusRequest(),
    "why": lambda fields: WhyRequest(short_text_of(fields, "target")),
}
_OP_OF: dict[type[ControlRequest], str] = {
    InfoRequest: "info",
    PingRequest: "ping",
    IdentifyRequest: "identify",
    RouteRequest: "route",
    OpenStreamRequest: "open_stream",
    StatusRequest: "status",
    WhyRequest: "why",
}
