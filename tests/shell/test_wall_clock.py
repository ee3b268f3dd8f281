"""Both clocks are compared, and what a node does when its wall clock is set: io/wall_clock.py."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock

from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.io.listening import NodeSocket
from p2pnode.io.node.lifetime import NodeParts, run_node
from p2pnode.io.node.node import Node
from p2pnode.io.store.store import FILE_NAME, Store
from p2pnode.io.wall_clock import POLL_INTERVAL, STEP_THRESHOLD, watch_wall_clock
from p2pnode.machine import SocketAddr
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.self_description import MAX_RECORD_AGE
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from tests.support.node_pair import SimNetwork, sim_node

UNIX = 1_700_000_000.0
HOUR = 3600.0


class Wall:
    """A wall clock that goes on with the monotonic one, and can be set."""

    def __init__(self) -> None:
        self.error = 0.0

    def read(self) -> UnixTime:
        return UnixTime(UNIX + trio.current_time() + self.error)


async def told_of(errors: list[float]) -> list[float]:
    """Returns the errors of the wall clock, read one by one, that were told."""
    wall, told = Wall(), list[float]()

    def on_step(unix_now: UnixTime, now: Instant) -> None:
        assert now == trio.current_time()
        told.append(round(unix_now - now - UNIX, 6))

    def read() -> UnixTime:
        wall.error = errors.pop(0)
        return wall.read()

    now = trio.current_time()
    with trio.move_on_after((len(errors) + 0.5) * POLL_INTERVAL):
        await watch_wall_clock(on_step, now=now, unix_now=wall.read(), read=read)
    assert not errors
    return told


@pytest.mark.spec("SWARM-26")
async def test_steps_are_told_once_with_both_clocks(autojump_clock: MockClock) -> None:
    assert await told_of([0.0, 8 * HOUR, 8 * HOUR, 8 * HOUR, 0.0, 0.0]) == [8 * HOUR, 0.0]


async def test_drift_is_told_where_it_has_come_to_a_second(autojump_clock: MockClock) -> None:
    drift = [n * STEP_THRESHOLD / 4 for n in range(10)]
    assert await told_of(drift) == [STEP_THRESHOLD, 2 * STEP_THRESHOLD]


@asynccontextmanager
async def node_with_store(network: SimNetwork, folder: Path, wall: Wall) -> AsyncIterator[Node]:
    entropy, rng = Random("node").randbytes, Random("node")
    address = SocketAddr("10.0.0.9", 4001)
    with closing(Store(folder)) as store:
        parts = NodeParts(
            identity=PrivateKey.generate(entropy),
            config=SwarmConfig(),
            makers=all_makers(
                TransportConfig(), secret=entropy(32), entropy=entropy, rng=rng
            )._replace(over_links=None),
            sockets=[NodeSocket(network.socket(address), address, True)],
            interfaces=(),
            watches_interfaces=False,
            store=store,
            entropy=entropy,
            rng=rng,
            read_wall_clock=wall.read,
        )
        async with run_node(parts) as node:
            yield node


def stored(folder: Path, table: str, column: str) -> float:
    with closing(sqlite3.connect(folder / FILE_NAME)) as file:
        (value,) = file.execute(f"SELECT max({column}) FROM {table}").fetchone()
    return float(value)


@pytest.mark.spec("STORE-8", "STORE-9", "SWARM-26")
async def test_a_node_whose_clock_goes_back_moves_what_is_stored_and_counts_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, wall = SimNetwork(), Wall()
    async with sim_node(network, "peer", "10.0.0.1") as peer:
        async with node_with_store(network, tmp_path, wall) as node:
            target = node.addresses[0]
            await node.connect(peer.addresses[0])
            first = (await peer.identify(target)).record_seq
            assert first is not None
            assert stored(tmp_path, "sequence", "value") == first
            expires = stored(tmp_path, "address", "expires_unix")
            wall.error = -8 * HOUR
            await trio.sleep(2 * POLL_INTERVAL)
            assert stored(tmp_path, "address", "expires_unix") == expires - 8 * HOUR
            await trio.sleep(MAX_RECORD_AGE)
            second = (await peer.identify(target)).record_seq
            assert second is not None
            assert second > first
        await peer.wait_disconnected(node.peer_id)
        async with node_with_store(network, tmp_path, wall):
            third = (await peer.identify(target)).record_seq
            assert third is not None
            assert third > second
            known = [r.peer for r in Store(tmp_path).load(wall.read(), "").addresses]
            assert known == [str(peer.peer_id)] * len(peer.addresses)
