"""What a node learned is there after a restart, and was on disk before it was told."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
import trio

from p2pnode import RelayMode, ReservationsChanged, open_node
from p2pnode.clock import UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.io.store.memory import MAX_NOTED, Memory
from p2pnode.io.store.records import Record, SequenceRecord, network_fingerprint
from p2pnode.io.store.store import Store
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.swarm.events import RecordSigned
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig

NOW = UnixTime(1_800_000_000.0)
SWARM = Swarm(
    PrivateKey(bytes(32)),
    config=SwarmConfig(),
    makers=all_makers(
        TransportConfig(), secret=bytes(32), entropy=Random(1).randbytes, rng=Random(2)
    ),
    entropy=Random(1).randbytes,
    rng=Random(2),
    now=0.0,
    unix_now=NOW,
)
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


class CountingStore(Store):
    """Tells what was written, and can be full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written: list[int] = []
        self.is_full = False

    def write(self, batch: Sequence[Record]) -> bool:
        if self.is_full:
            return False
        self.written += [record.value for record in batch if isinstance(record, SequenceRecord)]
        return super().write(batch)


def test_what_is_stored_is_not_written_again_while_nothing_changes(tmp_path: Path) -> None:
    with closing(CountingStore(tmp_path)) as store:
        memory = Memory(store, "", now=0.0, unix_now=NOW)
        for seq in (*range(MAX_NOTED), *range(MAX_NOTED)):
            memory.note(RecordSigned(seq), SWARM, 0.0)
        assert store.written == list(range(MAX_NOTED))
        memory.note(RecordSigned(MAX_NOTED), SWARM, 0.0)
        memory.note(RecordSigned(0), SWARM, 0.0)  # forgotten for the one above
        assert store.written[MAX_NOTED:] == [MAX_NOTED, 0]


@pytest.mark.spec("STORE-7")
def test_what_a_full_disk_did_not_take_is_written_when_it_is_true_again(tmp_path: Path) -> None:
    with closing(CountingStore(tmp_path)) as store:
        memory = Memory(store, "", now=0.0, unix_now=NOW)
        store.is_full = True
        memory.note(RecordSigned(1), SWARM, 0.0)
        store.is_full = False
        memory.note(RecordSigned(1), SWARM, 0.0)
        assert store.written == [1]


@pytest.mark.spec("STORE-8")
def test_after_a_step_of_the_clock_what_is_told_is_stored_with_the_new_time(tmp_path: Path) -> None:
    with closing(CountingStore(tmp_path)) as store:
        memory = Memory(store, "", now=0.0, unix_now=NOW)
        memory.note(RecordSigned(1), SWARM, 0.0)
        memory.handle_clock_changed(UnixTime(NOW + 8 * 3600), 0.0)
        memory.note(RecordSigned(1), SWARM, 0.0)
        assert store.written == [1, 1]


async def _reserved(node) -> None:
    events = node.events()
    with trio.fail_after(10):
        while not node.engine.swarm.facts.reservations():
            event = await anext(events)
            if isinstance(event, ReservationsChanged):
                return
