"""Tells whose datagrams are by their first byte (specs/transport.md, Demultiplexing).

A read that the kernel joined may hold datagrams of several owners, for a relay's own packets and
those that it forwards come from one address; it is cut where the owner changes.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from p2pnode.machine import Received
from p2pnode.protocols import autonat, relay

_OTHERS: Final = frozenset((relay.CIRCUIT_TYPE, autonat.PROBE_FIRST_BYTE))


class Demultiplexed(NamedTuple):
    """Each owner's part of a batch, in order."""

    transport: Sequence[Received]
    circuits: list[Received]
    probes: list[Received]
    """One by one."""


def demultiplex(batch: Sequence[Received]) -> Demultiplexed:
    """Sorts what sockets brought.  Untrusted; never raises."""
    if not any(_has_others(received) for received in batch):
        return Demultiplexed(batch, [], [])
    transport: list[Received] = []
    sorted_batch = Demultiplexed(transport, [], [])
    for received in batch:
        for part in _runs(received):
            match part.buffer[0]:
                case relay.CIRCUIT_TYPE:
                    sorted_batch.circuits.append(part)
                case autonat.PROBE_FIRST_BYTE:
                    sorted_batch.probes.extend(_singles(part))
                case _:
                    transport.append(part)
    return sorted_batch


def _has_others(received: Received) -> bool:
    buffer, step = received.buffer, received.segment_size
    if len(buffer) <= step:
        return bool(buffer) and buffer[0] in _OTHERS
    return not _OTHERS.isdisjoint(bytes(buffer[::step]))


def _singles(received: Received) -> list[Received]:
    buffer, step = received.buffer, received.segment_size
    starts = range(0, len(buffer), step)
    return [received._replace(buffer=buffer[start : start + step]) for start in starts]


def _runs(received: Received) -> list[Received]:
    """Returns the read, cut where the owner changes."""
    buffer, step = received.buffer, received.segment_size
    if len(buffer) <= step:
        return [received] if buffer else []
    kinds = [kind if kind in _OTHERS else 0 for kind in bytes(buffer[::step])]
    runs: list[Received] = []
    start = 0
    for index in range(1, len(kinds) + 1):
        if index == len(kinds) or kinds[index] != kinds[start]:
            runs.append(received._replace(buffer=buffer[start * step : index * step]))
            start = index
    return runs
