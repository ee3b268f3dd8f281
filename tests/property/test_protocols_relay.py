"""Relaying: vouchers; packets against a model; shares."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.clock import UnixTime
from p2pnode.errors import DecodeError
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId
from p2pnode.protocols.relay.accounting import MonthlyVolume
from p2pnode.protocols.relay.circuit import CircuitKey, Leg
from p2pnode.protocols.relay.circuit_table import CircuitTable
from p2pnode.protocols.relay.limits import RelayLimits
from p2pnode.protocols.relay.voucher import open_voucher_untrusted, seal_voucher
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id, private_key

ALICE, BOB = peer_id("a"), peer_id("b")
ADDR = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
VOUCHER = seal_voucher(private_key("b"), ALICE, 5000).encode()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(VOUCHER) - 1), st.integers(1, 255))
def test_a_changed_voucher_does_not_open(index: int, flip: int) -> None:
    changed = bytearray(VOUCHER)
    changed[index] ^= flip
    with pytest.raises(DecodeError):
        open_voucher_untrusted(bytes(changed))


PEERS = 4
UNLIMITED = RelayLimits(
    circuit_rate=0, peer_rate=0, total_rate=0, monthly_bytes=0, peer_monthly_bytes=0
)
operation = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, PEERS - 1), st.integers(0, PEERS - 1)),
    st.tuples(st.just("activate"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("close"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("move"), st.integers(0, PEERS - 1), st.integers(1, 9)),
    st.tuples(st.just("lose"), st.integers(0, PEERS - 1), st.just(0)),
    st.tuples(st.just("send"), st.integers(0, 19), st.integers(0, PEERS - 1)),
)


class Model:
    """What circuits do, without queues: a dictionary of ids and a list of addresses."""

    def __init__(self) -> None:
        self.ports = [0] * PEERS
        self.open: dict[bytes, tuple[int, int, bytes]] = {}
        """By id: who sends by it, who gets the packet, and under which id."""
        self.circuits: list[tuple[CircuitKey, int, int, bytes, bytes]] = []
        self.counter = 0

    def remote(self, peer: int) -> SocketAddr:
        return SocketAddr(f"1.1.1.{peer}", 4000 + self.ports[peer])

    def leg(self, peer: int) -> Leg:
        return Leg(peer_id(peer), ConnectionHandle(peer), SocketId(0), None, self.remote(peer))

    def close(self, index: int) -> None:
        for circuit_id in self.circuits.pop(index)[3:]:
            self.open.pop(circuit_id, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(operation, max_size=60), st.integers(0, 1000))
def test_packets_go_where_a_simple_model_says(
    operations: list[tuple[str, int, int]], seed: int
) -> None:
    volume = MonthlyVolume(0, now=0.0, unix_now=UnixTime(0))
    table = CircuitTable(UNLIMITED, Random(seed).randbytes, volume)
    model = Model()
    for name, first, second in operations:
        step(table, model, name, first, second)
        table.poll_events()
    assert len(table) == len(model.circuits)


def step(table: CircuitTable, model: Model, name: str, first: int, second: int) -> None:
    match name:
        case "offer":
            offer = table.offer(model.leg(first), model.leg(second), b"r" * 8, 0.0)
            ids = (offer.source_id, offer.target_id)
            model.circuits.append((offer.key, first, second, *ids))
        case "activate" if first < len(model.circuits):
            key, source, target, source_id, target_id = model.circuits[first]
            model.counter += 1
            receive = model.counter.to_bytes(8, "big")
            if table.activate(key, receive, 0.0):
                model.open[source_id] = (source, target, receive)
                model.open[target_id] = (target, source, b"r" * 8)
        case "close" if first < len(model.circuits):
            table.close(model.circuits[first][0], "test")
            model.close(first)
        case "move":
            model.ports[first] = second
            table.handle_moved(ConnectionHandle(first), SocketId(0), None, model.remote(first))
        case "lose":
            table.handle_disconnected(ConnectionHandle(first))
            for index in reversed(range(len(model.circuits))):
                if first in model.circuits[index][1:3]:
                    model.close(index)
        case "send":
            ids = [i for circuit in model.circuits for i in circuit[3:]]
            circuit_id = ids[first] if first < len(ids) else bytes(8)
            data = b"\x90" + circuit_id + b"inner"
            packet = Received(SocketId(0), None, model.remote(second), 0, len(data), data)
            table.handle_received([packet], 0.0)
            out = [(t.remote, bytes(t.buffer)) for t in table.poll_transmits(0.0)]
            route = model.open.get(circuit_id)
            if route is None or model.remote(route[0]) != model.remote(second):
                assert out == []
            else:
                assert out == [(model.remote(route[1]), b"\x90" + route[2] + b"inner")]
        case _:
            pass


@pytest.mark.spec("RELAY-17")
@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=12),
    st.integers(400, 1400),
    st.integers(0, 1000),
)
def test_each_circuit_keeps_nine_tenths_of_its_share_whatever_the_others_offer(
    offered: list[float], size: int, seed: int
) -> None:
    total, seconds, tick = 1_000_000, 1.0, 0.004
    volume = MonthlyVolume(0, now=0.0, unix_now=UnixTime(0))
    limits = replace(UNLIMITED, total_rate=total)
    table = CircuitTable(limits, Random(seed).randbytes, volume)
    model = Model()
    model.ports = [0] * (2 * len(offered))
    ids: list[bytes] = []
    for index in range(len(offered)):
        offer = table.offer(model.leg(2 * index), model.leg(2 * index + 1), b"r" * 8, 0.0)
        table.activate(offer.key, b"t" * 8, 0.0)
        ids.append(offer.source_id)
    share = total / len(offered)
    credit = [0.0] * len(offered)
    now = 0.0
    while now < seconds:
        batch: list[Received] = []
        for index, part in enumerate(offered):
            credit[index] += part * share * tick
            while credit[index] >= size:
                credit[index] -= size
                data = b"\x90" + ids[index] + bytes(size - 9)
                batch.append(Received(SocketId(0), None, model.remote(2 * index), 0, size, data))
        table.handle_received(batch, now)
        table.poll_transmits(now)
        end = now + tick
        while (deadline := table.poll_timeout()) is not None and deadline.at < end:
            now = max(now, deadline.at)
            table.handle_timeout(now)
            table.poll_transmits(now)
        now = end
    for part, (forward, _) in zip(offered, table.traffic().values(), strict=True):
        entitled = min(part, 1.0) * share * seconds
        assert forward.forwarded_bytes >= 0.9 * entitled - 2 * size
