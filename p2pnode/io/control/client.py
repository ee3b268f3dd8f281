"""The other end of the control socket: a command acts through the node that runs.

Rule: one connection a request, closed in every case, which ends the request over there too.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import trio

from p2pnode.errors import DecodeError, P2PNodeError
from p2pnode.io.control import local_socket
from p2pnode.io.control.channel import MAX_FRAME_SIZE, ControlChannel, FrameHeader, FrameKind
from p2pnode.io.control.fields import Json, decode_object_untrusted
from p2pnode.io.control.messages import (
    MAX_REPORT_SIZE,
    ControlRequest,
    IdentifyReport,
    IdentifyRequest,
    InfoReport,
    InfoRequest,
    OpenStreamRequest,
    PingReport,
    PingRequest,
    RouteReport,
    RouteRequest,
    StatusRequest,
    WhyRequest,
    decode_error_untrusted,
    decode_identify_untrusted,
    decode_info_untrusted,
    decode_ping_untrusted,
    decode_route_untrusted,
    encode_request,
)
from p2pnode.io.control.status import (
    StatusReport,
    WhyReport,
    decode_status_untrusted,
    decode_why_untrusted,
)
from p2pnode.machine import Buffer
from p2pnode.wire.byte_view import byte_view

INFO_TIMEOUT = 10.0  # seconds for a node to say who it is; a node that hangs is as good as none


class ControlClient:
    """Asks the node whose socket is at `path`.

    All methods raise P2PNodeError: what the node answers, or that it is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def try_info(self) -> InfoReport | None:
        """Returns who the running node is, or None where there is none."""
        channel = await self._try_connect()
        if channel is None:
            return None
        try:
            with trio.fail_after(INFO_TIMEOUT):
                await _send(channel, InfoRequest())
                return decode_info_untrusted(await _receive_result(channel))
        except trio.TooSlowError as exc:
            raise P2PNodeError(_text_for(self._path, "does not answer")) from exc
        except trio.BrokenResourceError as exc:
            raise P2PNodeError(_text_for(self._path, "is ending")) from exc
        finally:
            await channel.aclose()

    async def identify(self, target: str) -> IdentifyReport:
        """Asks the peer through the node."""
        return decode_identify_untrusted(await self._ask(IdentifyRequest(target)))

    async def route(self, peer: str) -> RouteReport:
        """Returns which way packets to a connected peer go now."""
        return decode_route_untrusted(await self._ask(RouteRequest(peer)))

    async def status(self) -> StatusReport:
        """Returns what the node knows of itself."""
        return decode_status_untrusted(await self._ask(StatusRequest()))

    async def why(self, target: str) -> WhyReport:
        """Returns why packets to a peer go the way they go; the node connects with it first."""
        return decode_why_untrusted(await self._ask(WhyRequest(target)))

    async def ping(
        self, target: str, count: int | None, interval: float
    ) -> AsyncGenerator[PingReport, None]:
        """Yields a report a ping."""
        channel = await self._connect()
        try:
            await _send(channel, PingRequest(target, count, interval))
            while (fields := await _receive(channel)) is not None:
                yield decode_ping_untrusted(fields)
        except trio.BrokenResourceError as exc:
            raise P2PNodeError(_text_for(self._path, "has ended")) from exc
        finally:
            await channel.aclose()

    async def open_stream(self, target: str, protocol: str) -> "LentStream":
        """Returns a stream of the node to the peer."""
        channel = await self._connect()
        try:
            await _send(channel, OpenStreamRequest(target, protocol))
            route = decode_route_untrusted(await _receive_result(channel))
        except trio.BrokenResourceError as exc:
            channel.abandon()
            raise P2PNodeError(_text_for(self._path, "has ended")) from exc
        except BaseException:
            channel.abandon()
            raise
        return LentStream(channel, route)

    async def _ask(self, request: ControlRequest) -> Json:
        channel = await self._connect()
        try:
            await _send(channel, request)
            return await _receive_result(channel)
        except trio.BrokenResourceError as exc:
            raise P2PNodeError(_text_for(self._path, "has ended")) from exc
        finally:
            await channel.aclose()

    async def _connect(self) -> ControlChannel:
        channel = await self._try_connect()
        if channel is None:
            raise P2PNodeError(_text_for(self._path, "has ended"))
        return channel

    async def _try_connect(self) -> ControlChannel | None:
        """Returns None where no node listens."""
        try:
            with trio.fail_after(INFO_TIMEOUT):
                stream = await local_socket.connect(self._path)
        except trio.TooSlowError as exc:
            raise P2PNodeError(_text_for(self._path, "does not answer")) from exc
        return None if stream is None else ControlChannel(stream)


class LentStream:
    """A stream of the running node, carried over its control socket; a `PeerStream`."""

    def __init__(self, channel: ControlChannel, route: RouteReport) -> None:
        self.route = route
        """Which way packets went when the stream was opened."""
        self._channel = channel
        self._left = 0
        """Bytes of the current DATA frame that are still to be read."""
        self._is_at_end = False

    async def send_all(self, data: Buffer) -> None:
        """Raises BrokenResourceError where the stream or the node is gone.

        Raises TypeError for what is not bytes-like.
        """
        view = memoryview(byte_view(data))
        for start in range(0, len(view), MAX_FRAME_SIZE):
            await self._channel.send_frame(FrameKind.DATA, view[start : start + MAX_FRAME_SIZE])

    async def send_eof(self) -> None:
        """Finishes our direction."""
        await self._channel.send_frame(FrameKind.EOF)

    async def wait_delivered(self) -> None:
        """Returns at once: the running node has it, and goes on when this process has ended."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Returns some bytes, none at the peer's end.

        Raises BrokenResourceError where the stream or the node is gone; its cause says why.
        """
        if self._is_at_end:
            await trio.lowlevel.checkpoint()
            return b""
        try:
            while self._left == 0:
                header = await self._receive_header()
                if header.kind is FrameKind.EOF:
                    self._is_at_end = True
                    return b""
                if header.kind is FrameKind.RESET:
                    raise trio.BrokenResourceError from await self._channel.receive_error(header)
                self._left = header.size
            data = await self._channel.receive_payload(min(max_bytes or MAX_FRAME_SIZE, self._left))
        except DecodeError as exc:
            raise trio.BrokenResourceError("the node broke the control protocol") from exc
        self._left -= len(data)
        return data

    def reset(self, code: int) -> None:
        """Gives up both directions; the code stays here."""
        self._channel.abandon()

    async def aclose(self) -> None:
        """Closes the connection; where a direction is unfinished, the node resets the stream."""
        await self._channel.aclose()

    async def _receive_header(self) -> FrameHeader:
        header = await self._channel.receive_header()
        if header is None:
            raise trio.BrokenResourceError("the running node has ended")
        return header


async def _send(channel: ControlChannel, request: ControlRequest) -> None:
    await channel.send_line(encode_request(request))


async def _receive(channel: ControlChannel) -> Json | None:
    """Returns the next report, or None at the end.  Raises what the node answers."""
    line = await channel.receive_line(MAX_REPORT_SIZE)
    if line is None:
        raise trio.BrokenResourceError("the running node has ended")
    fields = decode_object_untrusted(line)
    if "end" in fields:
        return None
    result: Json | None = fields.get("result")
    if result is None:
        raise decode_error_untrusted(fields)
    return result


async def _receive_result(channel: ControlChannel) -> Json:
    result = await _receive(channel)
    if result is None:
        raise DecodeError("the running node answered nothing")
    return result


def _text_for(path: Path, what: str) -> str:
    return f"the node that runs on {path.parent} {what}"
