"""Serves the metrics over HTTP: `GET /metrics`, and nothing else (specs/metrics.md).

prometheus_client has a server of its own, but in threads: they would read the node while its loop
changes it, one for each client and for as long as the client likes.  Ours is one task a client in
the node's loop, with a bound on everything.

Rule: whatever a client sends or withholds, it costs at most one of MAX_SCRAPES places for
SCRAPE_TIMEOUT, a silent one gives way to the next who comes, and the node goes on.
"""

import contextlib
import ipaddress
import socket
import sys
from typing import Final, NamedTuple

import trio

from p2pnode.errors import AddressError, ListenError
from p2pnode.io.client_places import ClientPlace, Standing, serve_clients
from p2pnode.io.metrics.exposition import CONTENT_TYPE, NodeMetrics
from p2pnode.wire.ip_ranges import IpAddress, why_no_host

DEFAULT_HOST: Final = "127.0.0.1"
"""The numbers are nobody else's business unless the user says so."""
PATH: Final = b"/metrics"
MAX_REQUEST_SIZE: Final = 8192
"""bytes of request line and headers; what common servers take"""
REQUEST_TIMEOUT: Final = 3.0
"""seconds from the connection to the whole request; chosen: a retransmission of either's SYN"""
SCRAPE_TIMEOUT: Final = 10.0
"""seconds for one request with its answer; Prometheus' own default"""
MAX_SCRAPES: Final = 8
"""clients at once, who are being answered; chosen: two Prometheus servers and a curious person"""
BACKLOG: Final = 16
"""clients that wait; chosen"""

_OK: Final = b"200 OK"
_BAD_REQUEST: Final = b"400 Bad Request"
_NOT_FOUND: Final = b"404 Not Found"
_NOT_ALLOWED: Final = b"405 Method Not Allowed"
_TOO_LARGE: Final = b"431 Request Header Fields Too Large"
_TEXT: Final = "text/plain; charset=utf-8"


class MetricsAddress(NamedTuple):
    """Where the metrics are served."""

    host: str
    """An IP address, IPv6 without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_metrics_address(text: str) -> MetricsAddress:
    """Returns the address of `9464`, `:9464`, `192.0.2.1:9464` or `[2001:db8::1]:9464`.

    Without an IP address it is DEFAULT_HOST; port 0 means any.  Raises AddressError.
    """
    host, _, port = text.strip().rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host or DEFAULT_HOST
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    if ip is None or not _is_bindable(ip) or not is_port or is_bracketed is not (ip.version == 6):
        raise AddressError(
            f"{text!r} is no address to serve metrics at; one looks like 127.0.0.1:9464"
        )
    return MetricsAddress(str(ip), int(port))


def _is_bindable(ip: IpAddress) -> bool:
    """True for what one machine can have; a link-local IPv6 address needs its zone (RFC 4007)."""
    bare, _, zone = str(ip).partition("%")
    is_one_host = ip.is_unspecified or why_no_host(bare) is None
    return is_one_host and (ip.version == 4 or not ip.is_link_local or bool(zone))


async def serve_metrics(
    metrics: NodeMetrics,
    address: MetricsAddress,
    *,
    task_status: trio.TaskStatus[MetricsAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until it is cancelled; reports the address once it is bound.  Raises ListenError."""
    listener = await _listen(address)
    host, port = listener.socket.getsockname()[:2]

    async def serve(stream: trio.SocketStream, place: ClientPlace) -> None:
        await _serve(stream, metrics, place)

    async with listener:
        task_status.started(MetricsAddress(host, port))
        await serve_clients(listener, MAX_SCRAPES, serve)


async def _listen(address: MetricsAddress) -> trio.SocketListener:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock: trio.socket.SocketType | None = None
    try:
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":  # there it would mean to share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await sock.bind(tuple(address))
        sock.listen(BACKLOG)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise ListenError(
            f"cannot serve metrics at {address}: {exc.strerror or exc}; choose another address"
            " with --metrics"
        ) from exc
    return trio.SocketListener(sock)


async def _serve(stream: trio.SocketStream, metrics: NodeMetrics, place: ClientPlace) -> None:
    with trio.move_on_after(SCRAPE_TIMEOUT), contextlib.suppress(trio.BrokenResourceError):
        status: bytes | None = None
        with trio.move_on_after(REQUEST_TIMEOUT):
            status = await _read_request(stream)
        if status is not None:
            place.standing = Standing.BUSY
            await stream.send_all(_answer(status, metrics))
            place.standing = Standing.ANSWERED
            await stream.send_eof()
            await _wait_for_end(stream)


async def _read_request(stream: trio.SocketStream) -> bytes | None:
    """Returns the status to answer with, or None where the client has gone."""
    request = bytearray()
    while b"\r\n\r\n" not in request:
        if len(request) > MAX_REQUEST_SIZE:
            return _TOO_LARGE
        data = await stream.receive_some(MAX_REQUEST_SIZE)
        if not data:
            return None
        request += data
    return _judge(bytes(request.partition(b"\r\n")[0]))


def _judge(request_line: bytes) -> bytes:
    words = request_line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _BAD_REQUEST
    method, target, _version = words
    if target.partition(b"?")[0] != PATH:
        return _NOT_FOUND
    return _OK if method == b"GET" else _NOT_ALLOWED


def _answer(status: bytes, metrics: NodeMetrics) -> bytes:
    is_ok = status == _OK
    body = metrics.render() if is_ok else b"The metrics are at " + PATH + b".\n"
    headers = [
        b"HTTP/1.1 " + status,
        b"Content-Type: " + (CONTENT_TYPE if is_ok else _TEXT).encode(),
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        *([b"Allow: GET"] if status == _NOT_ALLOWED else []),
    ]
    return b"\r\n".join(headers) + b"\r\n\r\n" + body


async def _wait_for_end(stream: trio.SocketStream) -> None:
    """Reads on until the client closes: else the kernel could take back the end of the answer."""
    left = MAX_REQUEST_SIZE
    while left > 0:
        data = await stream.receive_some(MAX_REQUEST_SIZE)
        if not data:
            return
        left -= len(data)
