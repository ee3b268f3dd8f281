"""What a node learned is there after a restart, and was on disk before it was told."""

import time
from pathlib import Path

import trio

from p2pnode import RelayMode, ReservationsChanged, open_node
from p2pnode.clock import UnixTime
from p2pnode.io.store.records import network_fingerprint
from p2pnode.io.store.store import Store

LISTEN = ["/ip4/127.0.0.1/udp/0/noise"]


async def test_addresses_and_relays_survive_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    async with open_node(listen=LISTEN, relay_mode=RelayMode.ALWAYS) as relay:
        async with open_node(
            data_folder=folder, listen=LISTEN, bootstrap=[relay.addresses[0]]
        ) as node:
            await _reserved(node)
        # Nobody names the relay this time.
        async with open_node(data_folder=folder, listen=LISTEN) as node:
            await _reserved(node)
            assert await node.ping(relay.peer_id) > 0


async def test_what_is_told_is_on_disk_before(tmp_path: Path) -> None:
    async with (
        open_node(listen=LISTEN, relay_mode=RelayMode.ALWAYS) as relay,
        open_node(data_folder=tmp_path, listen=LISTEN, bootstrap=[relay.addresses[0]]) as node,
    ):
        await _reserved(node)
        # A second reader sees what is committed, and nothing else.
        other = Store(tmp_path)
        loaded = other.load(UnixTime(time.time()), network_fingerprint([]))
        other.close()
        assert [record.peer for record in loaded.relays] == [str(relay.peer_id)]
        assert str(relay.peer_id) in {record.peer for record in loaded.addresses}


async def _reserved(node) -> None:
    events = node.events()
    with trio.fail_after(10):
        while not node.engine.swarm.relay_client.reservations():
            event = await anext(events)
            if isinstance(event, ReservationsChanged):
                return
