"""Circuits as sockets: p2pnode/swarm/circuits.py, against a relay that rewrites by the spec."""

from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.machine import Received, SocketAddr, SocketId, Transmit
from p2pnode.protocols.relay import CIRCUIT_TYPE, HEADER_SIZE
from p2pnode.swarm import circuits as module
from p2pnode.swarm.circuits import Circuits
from p2pnode.transports.route import Route

RELAY, ELSEWHERE = SocketAddr("7.0.0.1", 4001), SocketAddr("8.0.0.1", 4001)
HOP = 5
"""the connection to the relay"""


class Bench:
    """Circuits over one relay, whose path a test may change."""

    def __init__(self) -> None:
        self.hops: dict[int, Route] = {HOP: Route(SocketId(3), "10.0.0.2", RELAY)}
        self.circuits = Circuits(self.hops.get)

    def open(self, number: int, relay: int = HOP) -> Route:
        route = self.circuits.open(relay, *ids(number))
        assert route is not None
        return route


def ids(number: int) -> tuple[bytes, bytes]:
    """Returns what the relay receives the circuit by, and what we do."""
    return bytes([1, number] * 4), bytes([2, number] * 4)


def from_relay(
    datagrams: list[bytes], step: int, remote: SocketAddr = RELAY, ecn: int = 1
) -> Received:
    return Received(SocketId(3), None, remote, ecn, step, b"".join(datagrams))


def split(buffer: bytes, step: int) -> list[bytes]:
    found = []
    while buffer:
        found.append(buffer[:step])
        buffer = buffer[step:]
    return found


class Flight(NamedTuple):
    """Datagrams that leave in one call."""

    step: int
    datagrams: list[bytes]


@st.composite
def flights(draw: st.DrawFn) -> Flight:
    step = draw(st.integers(1, 60))
    sizes = [step] * draw(st.integers(0, 9)) + [draw(st.integers(1, step))]
    return Flight(step, [draw(st.binary(min_size=n, max_size=n)) for n in sizes])


@given(st.lists(st.tuples(st.integers(0, 3), flights()), max_size=8))
def test_what_one_end_sends_the_other_one_gets(sent: list[tuple[int, Flight]]) -> None:
    ours, theirs = Bench(), Bench()
    out = [ours.open(n) for n in range(4)]
    back = {theirs.open(n): n for n in range(4)}
    reads = []
    for number, flight in sent:
        route = out[number]
        wrapped = ours.circuits.wrap(
            Transmit(
                route.socket, None, route.remote, 2, None, flight.step, b"".join(flight.datagrams)
            )
        )
        assert wrapped is not None
        assert (wrapped.socket, wrapped.local_ip, wrapped.remote) == (3, "10.0.0.2", RELAY)
        # the relay: another id, nothing else
        through = split(bytes(wrapped.buffer), wrapped.segment_size)
        assert all(d[:HEADER_SIZE] == bytes([CIRCUIT_TYPE]) + ids(number)[0] for d in through)
        rewritten = [d[:1] + ids(number)[1] + d[HEADER_SIZE:] for d in through]
        reads.append(from_relay(rewritten, wrapped.segment_size, ecn=wrapped.ecn))

    got, rest = theirs.circuits.unwrap(reads)
    assert rest == []
    by_circuit: dict[int, list[bytes]] = {n: [] for n in range(4)}
    for received in got:
        number = back[Route(received.socket, None, received.remote)]
        assert received.ecn == 2
        by_circuit[number] += split(bytes(received.buffer), received.segment_size)
    assert by_circuit == {
        n: [d for number, flight in sent if number == n for d in flight.datagrams] for n in range(4)
    }


@given(st.randoms(use_true_random=False), st.integers(1, 30))
def test_a_read_that_joins_several_circuits_and_strangers_is_sorted(rng: Random, step: int) -> None:
    bench = Bench()
    routes = [bench.open(n) for n in range(3)]
    owners = [rng.randrange(5) for _ in range(rng.randrange(1, 12))]  # 3 and 4 are nobody's
    inner = [rng.randbytes(step) for _ in owners]
    inner[-1] = inner[-1][: rng.randrange(1, step + 1)]
    datagrams = [
        bytes([CIRCUIT_TYPE]) + ids(n)[1] + data for n, data in zip(owners, inner, strict=True)
    ]
    got, rest = bench.circuits.unwrap([from_relay(datagrams, step + HEADER_SIZE)])

    for number, route in enumerate(routes):
        assert [
            d
            for r in got
            if r.socket == route.socket
            for d in split(bytes(r.buffer), r.segment_size)
        ] == [data for n, data in zip(owners, inner, strict=True) if n == number]
    assert [d for r in rest for d in split(bytes(r.buffer), r.segment_size)] == [
        d for n, d in zip(owners, datagrams, strict=True) if n >= 3
    ]


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(1, 20))
def test_what_a_relay_sends_is_what_it_says_behind_each_header(
    tails: list[bytes], step: int
) -> None:
    bench = Bench()
    bench.open(0)
    header = bytes([CIRCUIT_TYPE]) + ids(0)[1]
    batch = [from_relay([header + tail], step) for tail in tails]
    sent = [datagram for read in batch for datagram in split(bytes(read.buffer), step)]
    got, rest = bench.circuits.unwrap(batch)

    told = [datagram for read in got for datagram in split(bytes(read.buffer), read.segment_size)]
    ours = [datagram for datagram in sent if datagram[1 : len(header)] == header[1:]]
    assert told == [d[len(header) :] for d in ours if len(d) > len(header)]
    left = [datagram for read in rest for datagram in split(bytes(read.buffer), step)]
    assert left == [datagram for datagram in sent if datagram[1 : len(header)] != header[1:]]


@pytest.mark.spec("RELAY-12")
def test_packets_from_elsewhere_are_dropped() -> None:
    bench = Bench()
    bench.open(0)
    packet = bytes([CIRCUIT_TYPE]) + ids(0)[1] + b"inner"

    assert bench.circuits.unwrap([from_relay([packet], 99, ELSEWHERE)]) == ([], [])
    assert len(bench.circuits.unwrap([from_relay([packet], 99)])[0]) == 1


def test_a_packet_without_anything_inside_is_dropped() -> None:
    bench = Bench()
    bench.open(0)
    empty = bytes([CIRCUIT_TYPE]) + ids(0)[1]
    assert bench.circuits.unwrap([from_relay([empty], 99)]) == ([], [])
    assert bench.circuits.unwrap([from_relay([empty[:4]], 99)])[0] == []


def test_a_circuit_follows_the_path_of_its_relay() -> None:
    bench = Bench()
    route = bench.open(0)
    bench.hops[HOP] = Route(SocketId(4), None, ELSEWHERE)
    sent = bench.circuits.wrap(Transmit(route.socket, None, route.remote, 0, 7, 9, b"inner"))

    assert sent is not None
    assert (sent.socket, sent.remote, sent.ttl) == (4, ELSEWHERE, 7)
    packet = bytes([CIRCUIT_TYPE]) + ids(0)[1] + b"back"
    (got,), _ = bench.circuits.unwrap([from_relay([packet], 99, ELSEWHERE)])
    assert Route(got.socket, got.local_ip, got.remote).key == route.key, "the same route as ever"


def test_nothing_goes_over_a_relay_that_is_gone_or_is_itself_behind_one() -> None:
    bench = Bench()
    route = bench.open(0)
    transmit = Transmit(route.socket, None, route.remote, 0, None, 9, b"inner")
    bench.hops[HOP] = Route(SocketId(-9), None, RELAY)
    assert bench.circuits.wrap(transmit) is None
    assert bench.circuits.open(HOP, *ids(1)) is None
    del bench.hops[HOP]
    assert bench.circuits.wrap(transmit) is None
    assert bench.circuits.open(HOP, *ids(1)) is None
    packet = bytes([CIRCUIT_TYPE]) + ids(0)[1] + b"back"
    assert bench.circuits.unwrap([from_relay([packet], 99)]) == ([], [])


def test_a_closed_circuit_is_gone_and_its_socket_is_not_used_again() -> None:
    bench = Bench()
    first = bench.open(0)
    assert bench.circuits.relay_of(first) == HOP
    bench.circuits.close(first)
    bench.circuits.close(first)

    assert len(bench.circuits) == 0
    assert bench.circuits.relay_of(first) is None
    assert bench.circuits.wrap(Transmit(first.socket, None, RELAY, 0, None, 9, b"x")) is None
    batch = [from_relay([bytes([CIRCUIT_TYPE]) + ids(0)[1] + b"late"], 99)]
    assert bench.circuits.unwrap(batch) == ([], batch)
    again = bench.open(0)
    assert again.socket != first.socket
    assert again.is_relayed


def test_two_circuits_do_not_share_an_id_and_there_are_so_many() -> None:
    bench = Bench()
    bench.open(0)
    assert bench.circuits.open(HOP, b"x" * 8, ids(0)[1]) is None
    assert len(bench.circuits) == 1


def test_the_number_of_circuits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CIRCUITS", 2)
    bench = Bench()
    first = bench.open(0)
    bench.open(1)
    assert bench.circuits.open(HOP, *ids(2)) is None
    bench.circuits.close(first)
    bench.open(2)
