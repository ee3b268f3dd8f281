"""Tells circuits' packets and probes from what is transports' (specs/transport.md, Demultiplexing).

A relay's own packets and those that it forwards come from one address, so that one read may hold
both.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from p2pnode.machine import Received
from p2pnode.protocols import autonat, relay
from p2pnode.transports.first_byte import FIRST_BYTES, is_whole, runs

_TRANSPORT, _CIRCUIT, _PROBE = range(3)
_OWNER: Final = {relay.CIRCUIT_TYPE: _CIRCUIT, autonat.PROBE_FIRST_BYTE: _PROBE}
_OWNERS: Final = bytes(_OWNER.get(byte, _TRANSPORT) for byte in range(FIRST_BYTES))


class Demultiplexed(NamedTuple):
    """Each owner's part of a batch, in order."""

    transport: Sequence[Received]
    circuits: list[Received]
    probes: list[Received]
    """One by one."""


def demultiplex(batch: Sequence[Received]) -> Demultiplexed:
    """Sorts what sockets brought.  Untrusted; never raises."""
    if all(is_whole(received, _OWNERS, _TRANSPORT) for received in batch):
        return Demultiplexed(batch, [], [])
    transport: list[Received] = []
    sorted_batch = Demultiplexed(transport, [], [])
    for received in batch:
        for owner, part in runs(received, _OWNERS):
            if owner == _CIRCUIT:
                sorted_batch.circuits.append(part)
            elif owner == _PROBE:
                sorted_batch.probes.extend(_singles(part))
            else:
                transport.append(part)
    return sorted_batch


def _singles(received: Received) -> list[Received]:
    buffer, step = received.buffer, received.segment_size
    starts = range(0, len(buffer), step)
    return [received._replace(buffer=buffer[start : start + step]) for start in starts]
