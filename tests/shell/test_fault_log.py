"""A bug of one connection in a running node: log and metric have it, and the node goes on."""

import logging

import pytest
import trio
from trio.testing import MockClock

from p2pnode.io.metrics.node_metrics import NodeFactsSource
from p2pnode.io.node.fault_log import LOG_WINDOW, MAX_LOGGED, FaultLog
from p2pnode.io.node.stream import Stream
from p2pnode.swarm.events import Fault
from tests.support.node_pair import node_pair

BUG = ZeroDivisionError("a bug")


def fail(*_: object, **__: object) -> None:
    raise BUG


async def write_on(stream: Stream) -> None:
    while True:
        await stream.send_all(b"more")
        await trio.sleep(1.0)


@pytest.mark.spec("SWARM-29")
async def test_a_bug_of_one_connection_is_logged_and_counted_and_the_node_goes_on(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with node_pair() as pair:
        server, engine = pair.server, pair.server.engine
        source = NodeFactsSource(engine.swarm.facts, lambda: engine.now)
        server.watch(source.count)
        stream, _ = await pair.streams()
        (connection,) = engine.swarm._transports.connections.values()
        monkeypatch.setattr(connection, "handle_received", fail)

        with caplog.at_level(logging.ERROR), pytest.raises(trio.BrokenResourceError):
            await write_on(stream)

        assert source.metric_facts().faults == 1
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[1] is BUG
        assert record.exc_info[2] is not None
        again, accepted = await pair.streams()
        await again.send_all(b"here")
        assert await accepted.receive_some() == b"here"


@pytest.mark.spec("SWARM-29")
@pytest.mark.parametrize(("part", "method"), [("_streams", "on_readable"), ("_pings", "answer")])
async def test_a_bug_of_the_shell_about_one_connection_ends_it_alone(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    method: str,
) -> None:
    async with node_pair() as pair:
        stream, _ = await pair.streams()
        engine = pair.server.engine
        (connection,) = engine.swarm._transports.connections
        with caplog.at_level(logging.ERROR), monkeypatch.context() as patch:
            patch.setattr(getattr(pair.server, part), method, fail)
            engine.swarm.ping(connection, engine.now)
            engine.wake()
            with pytest.raises(trio.BrokenResourceError):
                await write_on(stream)

        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[1] is BUG
        again, accepted = await pair.streams()
        await again.send_all(b"here")
        assert await accepted.receive_some() == b"here"


@pytest.mark.spec("SWARM-29")
async def test_a_bug_of_the_shell_about_nobody_ends_the_node(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node_pair() as pair:
        monkeypatch.setattr(pair.server._fault_log, "write", fail)
        with pytest.raises(ZeroDivisionError):
            pair.server._dispatch(Fault(BUG))


def test_only_so_many_are_written_out(caplog: pytest.LogCaptureFixture) -> None:
    log = FaultLog()
    for _ in range(MAX_LOGGED + 5):
        log.write(BUG, 0.0)
    assert len(caplog.records) == MAX_LOGGED

    log.write(BUG, LOG_WINDOW)
    assert len(caplog.records) == MAX_LOGGED + 1
