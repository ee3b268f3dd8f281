"""What a node tells of whom it had to refuse, and whom it protects."""

import logging

import pytest
import trio
from trio.testing import MockClock

from p2pnode.errors import ArgumentError, PeerBusy
from p2pnode.io.node.config import NodeConfig
from p2pnode.io.node.stream import Stream
from p2pnode.resources.refusal import Resource
from tests.support.node_pair import node_pair


@pytest.mark.spec("RESOURCES-7")
async def test_a_refusal_is_told_by_log_status_and_event(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with node_pair() as pair:

        async def keep(stream: Stream) -> None:
            await stream.send_all(b"x")
            await stream.receive_some()

        pair.server.handle("/kept/1.0.0", keep, max_streams=1)
        stream = await pair.client.open_stream(pair.address, "/kept/1.0.0")
        await stream.receive_some()
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                refused = await pair.client.open_stream(pair.address, "/kept/1.0.0")
                with pytest.raises(PeerBusy):
                    await refused.receive_some()

        lines = [record.getMessage() for record in caplog.records if "refused" in record.message]
        assert lines == [
            "refused: no more than 1 streams for protocol /kept/1.0.0 (1 times since the start)"
        ], "a flood is few lines"
        (use,) = [use for use in pair.server.status().resources if use.resource is Resource.STREAMS]
        assert (use.used, use.refused) == (1, 3)


async def test_peers_are_protected_by_their_ids(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        client, trimming = pair.client.peer_id, pair.server.engine.swarm._trimming
        await pair.client.connect(pair.address)
        await trio.sleep(1)
        (handle,) = pair.server.engine.swarm._transports.connections
        assert not trimming.is_protected(handle)
        pair.server.protect(str(client))
        assert trimming.is_protected(handle)
        pair.server.protect(client, is_protected=False)
        assert not trimming.is_protected(handle)
        with pytest.raises(ArgumentError):
            pair.server.protect("nobody")
        with pytest.raises(TypeError):
            pair.server.protect(7)  # type: ignore[arg-type]


def test_a_configuration_with_what_is_no_peer_is_refused() -> None:
    with pytest.raises(ArgumentError):
        NodeConfig(protect=["nobody"])
    with pytest.raises(TypeError):
        NodeConfig(resources=7)  # type: ignore[arg-type]
