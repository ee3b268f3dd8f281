"""Whose datagrams are: p2pnode/swarm/demultiplexer.py."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.machine import Buffer, Received, SocketAddr, SocketId
from p2pnode.protocols.autonat import PROBE_FIRST_BYTE
from p2pnode.protocols.relay import CIRCUIT_TYPE
from p2pnode.swarm.demultiplexer import demultiplex

FIRST_BYTES = st.sampled_from((0x80, 0x01, 0x00, 0xFF, CIRCUIT_TYPE, PROBE_FIRST_BYTE))


def read(buffer: Buffer, step: int, socket: int = 1, port: int = 9, ecn: int = 0) -> Received:
    return Received(SocketId(socket), None, SocketAddr("7.0.0.1", port), ecn, step, buffer)


def datagrams(received: Received) -> list[bytes]:
    """Returns what the kernel joined, as it was; independent of the code under test."""
    left, found = bytes(received.buffer), []
    while left:
        found.append(left[: received.segment_size])
        left = left[received.segment_size :]
    return found


def owner(datagram: bytes) -> int:
    return {CIRCUIT_TYPE: 1, PROBE_FIRST_BYTE: 2}.get(datagram[0], 0)


@st.composite
def reads(draw: st.DrawFn) -> Received:
    """A read of datagrams of equal size, the last one possibly shorter, of any owners."""
    step = draw(st.integers(1, 40))
    sizes = [step] * draw(st.integers(0, 8)) + [draw(st.integers(1, step))]
    parts = [
        bytes([draw(FIRST_BYTES)]) + draw(st.binary(min_size=n - 1, max_size=n - 1)) for n in sizes
    ]
    kind = draw(st.sampled_from((bytes, bytearray, memoryview)))
    return read(
        kind(b"".join(parts)),
        step,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 3)),
    )


@given(st.lists(reads(), max_size=6))
def test_each_owner_gets_its_datagrams_in_order_and_nothing_is_lost(batch: list[Received]) -> None:
    sorted_batch = demultiplex(batch)

    for index, part in enumerate(sorted_batch):
        expected = [
            (received[:4], datagram)
            for received in batch
            for datagram in datagrams(received)
            if owner(datagram) == index
        ]
        assert [(r[:4], d) for r in part for d in datagrams(r)] == expected


@given(st.lists(reads(), max_size=6))
def test_probes_come_one_by_one(batch: list[Received]) -> None:
    assert all(len(datagrams(probe)) == 1 for probe in demultiplex(batch).probes)


def test_a_batch_without_others_is_passed_on_as_it_is() -> None:
    batch = [read(b"\x80" * 30, 10), read(b"\x01", 1)]
    assert demultiplex(batch).transport is batch


def test_a_read_is_cut_no_more_than_owners_change() -> None:
    kinds = bytes((CIRCUIT_TYPE, CIRCUIT_TYPE, 0x80, 0x81, CIRCUIT_TYPE))
    buffer = b"".join(bytes([kind]) + b"abc" for kind in kinds)
    sorted_batch = demultiplex([read(buffer, 4)])

    assert [len(bytes(part.buffer)) for part in sorted_batch.circuits] == [8, 4]
    assert [len(bytes(part.buffer)) for part in sorted_batch.transport] == [8]


def test_empty_datagrams_are_nobodys() -> None:
    assert not list(chain(*demultiplex([read(b"", 1), read(b"\x90", 1), read(b"", 10)])[::2]))
