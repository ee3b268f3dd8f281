"""The control socket of a running node: other processes of its user act through it.

Rule: each connection is one request; whatever it started ends with it.  A client that is wrong,
slow or gone costs the node one connection out of a few, and nothing else; one that has not asked
yet gives way to the next who comes.

A new operation is a request and a report in `control_messages` and an arm in `_answer`.
"""

import contextlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

import trio

from p2pnode.errors import DecodeError, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.applications.peer_stream import STREAM_ERRORS, NodeStream, stream_failure
from p2pnode.io.applications.together import run_together
from p2pnode.io.client_places import ClientPlace, Standing, serve_clients
from p2pnode.io.control import local_socket
from p2pnode.io.control.channel import MAX_FRAME_SIZE, ControlChannel, FrameKind
from p2pnode.io.control.fields import Json
from p2pnode.io.control.messages import (
    MAX_REQUEST_SIZE,
    ControlRequest,
    IdentifyRequest,
    InfoRequest,
    OpenStreamRequest,
    PingRequest,
    Report,
    RouteRequest,
    StatusRequest,
    WhyRequest,
    decode_request_untrusted,
    encode_error,
)
from p2pnode.io.control.operations import (
    ControlledNode,
    identify_report,
    info_report,
    ping_reports,
    route_report,
    status_report,
    why_report,
)
from p2pnode.wire.reset_code import StreamResetCode

MAX_CLIENTS = 64  # connections at once; chosen: commands that one user runs at a time
REQUEST_TIMEOUT = 10.0  # seconds from the connection to the whole request; chosen: it is local
LAST_WORDS_TIMEOUT = 1.0  # seconds for a client to take the reason why its stream is gone

_log = logging.getLogger(__name__)


async def serve_control(
    node: ControlledNode,
    path: Path,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves the control socket at `path` until cancelled.

    A socket that cannot be made is logged, not raised: the node works without.
    """
    try:
        listener = await local_socket.listen(path)
    except OSError as exc:
        _log.warning("no control socket at %s: %s", path, exc)
        task_status.started()
        return

    async def serve(stream: trio.SocketStream, place: ClientPlace) -> None:
        await _serve_client(node, ControlChannel(stream), place)

    try:
        task_status.started()
        async with listener:
            await serve_clients(listener, MAX_CLIENTS, serve)
    finally:
        with contextlib.suppress(OSError):
            local_socket.remove(path)


async def _serve_client(node: ControlledNode, channel: ControlChannel, place: ClientPlace) -> None:
    """Serves one connection to its end; raises nothing but cancellation."""
    try:
        request = await _receive_request(channel)
        place.standing = Standing.BUSY
        stream = None if request is None else await _answer_while_wanted(node, request, channel)
        if stream is not None:
            await _lend(stream, channel)
    except P2PNodeError as exc:  # also DecodeError: the client's mistake
        with contextlib.suppress(trio.BrokenResourceError):
            await channel.send_line(encode_error(exc))
    except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        _log.debug("a control client is gone: %s", exc)
    finally:
        await channel.aclose()


async def _receive_request(channel: ControlChannel) -> ControlRequest | None:
    try:
        with trio.fail_after(REQUEST_TIMEOUT):
            line = await channel.receive_line(MAX_REQUEST_SIZE)
    except trio.TooSlowError as exc:
        raise DecodeError("no request came in time") from exc
    return None if line is None else decode_request_untrusted(line)


async def _answer_while_wanted(
    node: ControlledNode, request: ControlRequest, channel: ControlChannel
) -> NodeStream | None:
    """Answers a request; gives up when the client does.  Returns the stream to lend, if any."""
    stream: NodeStream | None = None
    failure: P2PNodeError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_closed, channel, nursery.cancel_scope)
        try:
            stream = await _answer(node, request, channel)
        except P2PNodeError as exc:
            failure = exc
        except trio.BrokenResourceError:
            _log.debug("a control client went away during its request")
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return stream


async def _cancel_when_closed(channel: ControlChannel, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await channel.wait_closed()
    scope.cancel()


async def _answer(
    node: ControlledNode, request: ControlRequest, channel: ControlChannel
) -> NodeStream | None:
    match request:
        case InfoRequest():
            await channel.send_line(_result(info_report(node)))
        case IdentifyRequest():
            await channel.send_line(_result(await identify_report(node, request.target)))
        case RouteRequest():
            peer = PeerId.parse(request.peer)
            await channel.send_line(_result(route_report(peer, node.connection_info(peer))))
        case StatusRequest():
            await channel.send_line(_result(status_report(node)))
        case WhyRequest():
            await channel.send_line(_result(await why_report(node, request.target)))
        case PingRequest():
            async with contextlib.aclosing(ping_reports(node, request)) as reports:
                async for report in reports:
                    await channel.send_line(_result(report))
        case OpenStreamRequest():
            return await _open_stream(node, request, channel)
        case _:
            assert_never(request)
    await channel.send_line({"end": True})
    return None


async def _open_stream(
    node: ControlledNode, request: OpenStreamRequest, channel: ControlChannel
) -> NodeStream:
    stream = await node.open_stream(request.target, request.protocol)
    try:
        await channel.send_line(_result(route_report(stream.peer_id, stream.connection_info)))
    except BaseException:
        stream.reset(StreamResetCode.NONE)
        raise
    return stream


def _result(report: Report) -> Json:
    return {"result": asdict(report)}


async def _lend(stream: NodeStream, channel: ControlChannel) -> None:
    """Carries bytes between a stream and a client until both directions are finished.

    A failure of one direction ends both.
    """
    is_done = False
    try:
        loan = _Loan(stream, channel)
        await run_together(loan.carry_to_peer, loan.carry_to_client)
        is_done = True
    except STREAM_ERRORS as exc:
        await _tell_failure(channel, stream_failure(exc))
    finally:
        if not is_done:
            stream.reset(StreamResetCode.NONE)
        await stream.aclose()


async def _tell_failure(channel: ControlChannel, failure: P2PNodeError) -> None:
    if not channel.is_between_frames:
        return  # the client sees that a frame is cut off
    with (
        trio.move_on_after(LAST_WORDS_TIMEOUT),
        contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
    ):
        await channel.send_frame(FrameKind.RESET, json.dumps(encode_error(failure)).encode())


class _Loan:
    """A stream whose bytes go through the control socket."""

    def __init__(self, stream: NodeStream, channel: ControlChannel) -> None:
        self._stream = stream
        self._channel = channel
        self._has_peer_finished = False

    async def carry_to_peer(self) -> None:
        """Returns when the client has closed the connection after all was said both ways."""
        has_finished = False
        while (header := await self._channel.receive_header()) is not None:
            if has_finished or header.kind is FrameKind.RESET:
                raise DecodeError("the control client gave the stream up")
            if header.kind is FrameKind.EOF:
                await self._stream.send_eof()
                has_finished = True
                continue
            left = header.size
            while left:
                data = await self._channel.receive_payload(left)
                left -= len(data)
                await self._stream.send_all(data)
        if not (has_finished and self._has_peer_finished):
            raise DecodeError("the control client is gone")

    async def carry_to_client(self) -> None:
        while data := await self._stream.receive_some(MAX_FRAME_SIZE):
            await self._channel.send_frame(FrameKind.DATA, data)
        self._has_peer_finished = True
        await self._channel.send_frame(FrameKind.EOF)
