"""The control socket: both ends over a real Unix socket, and clients that misbehave."""

import json
import os
import socket
import stat
import sys
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import (
    ConnectionLost,
    DecodeError,
    DialError,
    P2PNodeError,
    PeerBusy,
    ProtocolNotSupported,
)
from p2pnode.io.control import local_socket
from p2pnode.io.control.channel import MAX_FRAME_SIZE
from p2pnode.io.control.client import ControlClient
from p2pnode.io.control.messages import (
    MAX_REQUEST_SIZE,
    ControlRequest,
    IdentifyRequest,
    InfoReport,
    InfoRequest,
    OpenStreamRequest,
    PingRequest,
    RouteReport,
    RouteRequest,
    StatusRequest,
    WhyRequest,
    decode_ping_untrusted,
    decode_request_untrusted,
    decode_route_untrusted,
    encode_request,
)
from p2pnode.io.control.operations import MAX_LISTED, status_report, why_report
from p2pnode.io.control.server import MAX_CLIENTS, REQUEST_TIMEOUT, serve_control
from p2pnode.io.control.status import (
    CauseReport,
    decode_status_untrusted,
    decode_why_untrusted,
)
from p2pnode.protocols.nat_behaviour.why import Explanation, PunchAttempt, Side
from tests.shell.fake_node import (
    ADDRESS,
    FULL_STATUS,
    HOSTILE_INFO,
    OUR_ADDRESS,
    OURS,
    PEER,
    RELAY,
    FakeNode,
)
from tests.shell.fake_streams import FakeStream

VIA = "/ip4/192.0.2.7/udp/4001/noise"
STATUS: dict[str, object] = {
    **{key: [] for key in ("addresses", "relays", "connections", "relaying", "resources")},
    "peer_id": str(OURS),
    "reachability": "unknown",
    "silence": None,
}
WHY: dict[str, object] = {
    "peer": str(PEER),
    "path": None,
    "verdict": "nobody knows",
    "cause": None,
    "attempts": [],
}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs Unix sockets")


@dataclass
class Served:
    path: Path
    node: FakeNode
    client: ControlClient

    async def say(self, data: bytes) -> list[object]:
        """Returns what the node answers to raw bytes."""
        stream = await local_socket.connect(self.path)
        assert stream is not None
        async with stream:
            await stream.send_all(data)
            return [json.loads(line) for line in (await read_all(stream)).splitlines()]


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([data async for data in stream])


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    path = folder / "control.sock"
    async with trio.open_nursery() as nursery:
        node = FakeNode(nursery)
        await nursery.start(serve_control, node, path)
        yield Served(path, node, ControlClient(path))
        nursery.cancel_scope.cancel()


async def test_the_running_node_says_who_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert await served.client.try_info() == InfoReport(str(OURS), (OUR_ADDRESS,))


async def test_where_no_node_runs_there_is_no_info(tmp_path: Path) -> None:
    assert await ControlClient(tmp_path / "control.sock").try_info() is None


async def test_the_socket_of_a_killed_node_is_as_good_as_none_and_is_replaced(
    tmp_path: Path,
) -> None:
    listener = await local_socket.listen(tmp_path / "control.sock")
    await listener.aclose()
    assert (tmp_path / "control.sock").exists()
    assert await ControlClient(tmp_path / "control.sock").try_info() is None
    async with serving(tmp_path) as served:
        assert await served.client.try_info() is not None


async def test_only_the_user_can_open_the_socket_and_it_is_gone_at_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    assert not served.path.exists()


async def test_a_socket_that_cannot_be_made_does_not_stop_the_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path / "missing") as served:
        assert await served.client.try_info() is None
    assert "no control socket" in caplog.text


async def test_pings_are_reported_lost_ones_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.rtts = [0.002, ConnectionLost("the network is down"), 0.004]
        async with aclosing(served.client.ping(ADDRESS, 3, 0.01)) as pings:
            reports = [report async for report in pings]
    assert [(report.seq, report.rtt, report.loss) for report in reports] == [
        (1, 0.002, ""),
        (2, None, "the network is down"),
        (3, 0.004, ""),
    ]
    assert {(report.peer, report.path, report.via) for report in reports} == {
        (str(PEER), "direct", VIA)
    }


@pytest.mark.spec("CONTROL-1")
async def test_pings_end_with_their_client(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.rtts = [0.001] * 1000
        async with aclosing(served.client.ping(ADDRESS, None, 0.01)) as pings:
            async for _ in pings:
                break
        await trio.testing.wait_all_tasks_blocked(0.05)
        left = len(served.node.rtts)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(served.node.rtts) == left > 900


async def test_identify_passes_on_what_the_peer_said(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.identify_info = HOSTILE_INFO
        report = await served.client.identify(ADDRESS)
    assert report.agent_version == HOSTILE_INFO.agent_version
    assert report.observed_addr == "/ip4/198.51.100.3/udp/50000/noise"
    assert report.listen_addrs == (VIA,)


async def test_the_route_to_a_peer_is_reported(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert await served.client.route(str(PEER)) == RouteReport(
            str(PEER), "direct", VIA, "noise-udp", False
        )


@pytest.mark.spec("CONTROL-6")
async def test_the_status_comes_back_as_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.node_status = FULL_STATUS
        report = await served.client.status()
    assert report == status_report(served.node)
    assert [(c.peer, c.rtt_ms) for c in report.connections] == [
        (str(PEER), 12.346),
        (str(RELAY), None),
    ]


@pytest.mark.spec("CONTROL-6")
async def test_a_status_has_no_more_than_a_line_can_hold(tmp_path: Path) -> None:
    connection, relaying = FULL_STATUS.connections[0], FULL_STATUS.relaying[0]
    async with serving(tmp_path) as served:
        served.node.node_status = FULL_STATUS._replace(
            connections=(connection,) * 5000, relaying=(relaying,) * 5000
        )
        report = await served.client.status()
    assert (len(report.connections), len(report.relaying)) == (MAX_LISTED, MAX_LISTED)


def test_a_node_that_tells_no_transport_is_understood() -> None:
    way = {"peer": "x", "path": "direct", "via": "y"}
    pong = {**way, "seq": 1, "rtt": 0.1, "loss": ""}
    connection = {**way, "rtt_ms": None, "streams": 0}

    assert decode_route_untrusted(way) == RouteReport("x", "direct", "y", None, None)
    assert (decode_ping_untrusted(pong).transport, decode_ping_untrusted(pong).limited) == (
        None,
    ) * 2
    (found,) = decode_status_untrusted({**STATUS, "connections": [connection]}).connections
    assert (found.transport, found.limited) == (None, None)
    for wrong in ({"transport": 7}, {"limited": 1}, {"limited": "no"}):
        with pytest.raises(DecodeError):
            decode_route_untrusted({**way, **wrong})


@pytest.mark.parametrize("side", ["theirs", None])
async def test_a_reason_comes_back_as_it_is(tmp_path: Path, side: Side | None) -> None:
    attempts = (PunchAttempt(3.0, 1, "plain", False, "no answer"),)
    async with serving(tmp_path) as served:
        cause = None if side is None else "address-dependent mapping"
        served.node.explanation = Explanation(PEER, "relayed", "why", side, cause, attempts)
        report = await served.client.why(ADDRESS)
        assert report == await why_report(served.node, ADDRESS)
    assert report.cause == (None if side is None else CauseReport(side, str(cause)))
    assert report.attempts[0]["reason"] == "no answer"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {**STATUS, "peer_id": 3},
        {**STATUS, "relays": {}},
        {**STATUS, "relays": [3]},
        {**STATUS, "relays": [{"peer": "x"}]},
        {**STATUS, "connections": [{"peer": "x", "path": "direct", "via": "y", "rtt_ms": "z"}]},
    ],
)
def test_a_status_that_is_not_complete_is_a_decode_error(fields: dict[str, object]) -> None:
    decode_status_untrusted(STATUS)
    with pytest.raises(DecodeError):
        decode_status_untrusted(fields)


@pytest.mark.parametrize(
    "fields",
    [{}, {**WHY, "cause": 3}, {**WHY, "cause": {"side": "ours"}}, {**WHY, "attempts": ["x"]}],
)
def test_a_reason_that_is_not_complete_is_a_decode_error(fields: dict[str, object]) -> None:
    decode_why_untrusted(WHY)
    with pytest.raises(DecodeError):
        decode_why_untrusted(fields)


async def test_a_failed_dial_reaches_the_client_as_its_sentence(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with pytest.raises(P2PNodeError, match=r"cannot reach .*nothing answers"):
            await served.client.identify("/ip4/192.0.2.99/udp/1/noise")
        with pytest.raises(P2PNodeError, match="not a multiaddr"):
            await served.client.open_stream("rubbish", "/echo/1.0.0")


async def echo(stream: FakeStream) -> None:
    while data := await stream.receive_some(1000):
        await stream.send_all(data)
    await stream.send_eof()
    await stream.aclose()


async def test_a_lent_stream_carries_both_directions_and_their_ends(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    async with serving(tmp_path) as served:
        served.node.peer_handlers["/echo/1.0.0"] = echo
        stream = await served.client.open_stream(ADDRESS, "/echo/1.0.0")
        assert stream.route == RouteReport(str(PEER), "direct", VIA, "noise-udp", False)

        async def send() -> None:
            await stream.send_all(content)
            await stream.send_eof()

        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while data := await stream.receive_some():
                received += data
        assert await stream.receive_some() == b""
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert served.node.streams[0].reset_code is None
    assert received == content


async def test_a_stream_for_a_protocol_that_the_peer_lacks_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        stream = await served.client.open_stream(ADDRESS, "/none/1.0.0")
        with pytest.raises(trio.BrokenResourceError) as raised:
            await stream.receive_some()
        await stream.aclose()
    assert isinstance(raised.value.__cause__, ProtocolNotSupported)


@pytest.mark.spec("CONTROL-2")
async def test_a_stream_that_the_peer_is_too_busy_for_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.busy = ["/full/1.0.0"]
        stream = await served.client.open_stream(ADDRESS, "/full/1.0.0")
        with pytest.raises(trio.BrokenResourceError) as raised:
            await stream.receive_some()
        await stream.aclose()
    assert isinstance(raised.value.__cause__, PeerBusy)
    assert raised.value.__cause__.protocols == ("/full/1.0.0",)


@pytest.mark.spec("CONTROL-5")
async def test_a_lost_stream_is_a_failure_with_its_reason_and_not_an_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.peer_handlers["/echo/1.0.0"] = echo
        stream = await served.client.open_stream(ADDRESS, "/echo/1.0.0")
        await stream.send_all(b"abc")
        assert await stream.receive_some() == b"abc"
        served.node.streams[0].fail(ConnectionLost("the network is down"))
        with pytest.raises(trio.BrokenResourceError) as raised:
            await stream.receive_some()
        await stream.aclose()
    assert str(raised.value.__cause__) == "the network is down"


@pytest.mark.spec("CONTROL-5")
async def test_a_node_that_ends_is_a_failure_of_the_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.node.peer_handlers["/echo/1.0.0"] = echo
        stream = await served.client.open_stream(ADDRESS, "/echo/1.0.0")
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.aclose()


@pytest.mark.spec("CONTROL-4")
@pytest.mark.parametrize("has_finished", [False, True])
async def test_a_client_that_goes_early_gives_the_stream_up(
    tmp_path: Path, has_finished: bool
) -> None:
    async def wait(stream: FakeStream) -> None:
        await trio.sleep_forever()

    async with serving(tmp_path) as served:
        served.node.peer_handlers["/wait/1.0.0"] = wait
        stream = await served.client.open_stream(ADDRESS, "/wait/1.0.0")
        await stream.send_all(b"abc")
        if has_finished:
            await stream.send_eof()
        await stream.aclose()
        with trio.fail_after(5):
            while served.node.streams[0].reset_code is None:
                await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.spec("CONTROL-2")
async def test_answers_are_lines_that_end_by_saying_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert await served.say(b'{"op": "info", "more": 1}\n') == [
            {"result": {"peer_id": str(OURS), "addresses": [OUR_ADDRESS]}},
            {"end": True},
        ]


@pytest.mark.spec("CONTROL-3")
@pytest.mark.parametrize(
    "request_line",
    [
        b"rubbish\n",
        b"[]\n",
        b"{}\n",
        b'{"op": 3}\n',
        b'{"op": "launch"}\n',
        b'{"op": "identify"}\n',
        b'{"op": "identify", "target": ""}\n',
        b'{"op": "route", "peer": "nobody"}\n',
        b'{"op": "why"}\n',
        b'{"op": "why", "target": 3}\n',
        b'{"op": "ping", "target": "/ip4", "count": 0, "interval": 1}\n',
        b'{"op": "ping", "target": "/ip4", "count": true, "interval": 1}\n',
        b'{"op": "ping", "target": "/ip4", "interval": 0}\n',
        b'{"op": "ping", "target": "/ip4", "interval": NaN}\n',
        b'{"op": "ping", "target": "/ip4", "interval": 1' + b"0" * 4000 + b"}\n",
        b'{"op": "identify", "target": "' + b"x" * MAX_REQUEST_SIZE + b'"}\n',
        b"[" * 10000 + b"\n",
    ],
)
async def test_a_bad_request_is_answered_with_an_error(tmp_path: Path, request_line: bytes) -> None:
    async with serving(tmp_path) as served:
        [answer] = await served.say(request_line)
        assert isinstance(answer, dict)
        assert set(answer) == {"error", "not_supported", "busy"}
        assert await served.client.try_info() is not None


@pytest.mark.spec("CONTROL-3")
async def test_a_client_that_says_nothing_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(tmp_path) as served:
        [answer] = await served.say(b'{"op"')
    assert isinstance(answer, dict)
    assert "in time" in answer["error"]
    assert trio.current_time() >= REQUEST_TIMEOUT


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
async def test_a_node_that_has_no_time_just_now_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "control.sock"
    async with await local_socket.listen(path) as listener, AsyncExitStack() as stack:
        with suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        with pytest.raises(P2PNodeError, match="does not answer"):
            await ControlClient(path).try_info()

        async def take_all() -> None:
            while True:
                stack.push_async_exit(await listener.accept())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_all)
            connected = await local_socket.connect(path)
            assert connected is not None
            await connected.send_all(b"x")
            await connected.aclose()
            nursery.cancel_scope.cancel()


@pytest.mark.spec("CONTROL-7")
async def test_silent_clients_give_way_to_those_who_ask(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """The clock stands still: nobody's time is up."""
    async with serving(tmp_path) as served, AsyncExitStack() as stack:
        served.node.peer_handlers["/echo/1.0.0"] = echo
        lent = await served.client.open_stream(ADDRESS, "/echo/1.0.0")
        for _ in range(2 * MAX_CLIENTS):
            silent = await local_socket.connect(served.path)
            assert silent is not None
            await stack.enter_async_context(silent)
            # The queue is short, and for a full one only time helps.
            assert await served.client.try_info() is not None
        assert await served.client.try_info() is not None
        # Who has asked stays.
        await lent.send_all(b"abc")
        assert await lent.receive_some() == b"abc"
        lent.reset(0)


async def test_a_client_that_closes_at_once_does_no_harm(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for data in (b"", b'{"op', b'{"op": "info"}\n'):
            stream = await local_socket.connect(served.path)
            assert stream is not None
            await stream.send_all(data)
            await stream.aclose()
        assert await served.client.try_info() is not None


@pytest.mark.parametrize(
    "request_",
    [
        InfoRequest(),
        IdentifyRequest("/ip4/192.0.2.1"),
        RouteRequest(str(PEER)),
        OpenStreamRequest("/ip4/192.0.2.1", "/echo/1.0.0"),
        PingRequest("/ip4/192.0.2.1", None, 1.0),
        PingRequest("/ip4/192.0.2.1", 3, 0.5),
        StatusRequest(),
        WhyRequest(str(PEER)),
    ],
)
def test_a_request_comes_back_as_it_was(request_: ControlRequest) -> None:
    assert decode_request_untrusted(json.dumps(encode_request(request_)).encode()) == request_


@given(st.binary(max_size=100))
def test_no_line_raises_anything_but_decode_error(line: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_request_untrusted(line)


def test_a_dial_error_is_a_plain_error_for_the_client() -> None:
    assert isinstance(DialError("x"), P2PNodeError)


async def test_a_lent_stream_takes_whatever_is_bytes_like(tmp_path: Path) -> None:
    samples = array("d", range(MAX_FRAME_SIZE // 8 + 5))
    async with serving(tmp_path) as served:
        served.node.peer_handlers["/echo/1.0.0"] = echo
        stream = await served.client.open_stream(ADDRESS, "/echo/1.0.0")

        async def send() -> None:
            await stream.send_all(memoryview(samples))
            await stream.send_eof()

        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while data := await stream.receive_some():
                received += data
        with pytest.raises(TypeError):
            await stream.send_all("text")  # type: ignore[arg-type]
        await stream.aclose()
    assert received == samples.tobytes()
