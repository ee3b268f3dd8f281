"""Sorts datagrams by whose their first byte says they are.

A read that the kernel joined may hold datagrams of several owners, for one peer's come from one
address whatever they are; it is cut where the owner changes.
"""

from collections.abc import Sequence
from typing import Final

from p2pnode.machine import Received

FIRST_BYTES: Final = 256

Owners = bytes
"""For each first byte its owner's number."""


def is_whole(received: Received, owners: Owners, owner: int) -> bool:
    """Whether all datagrams of a read are this owner's."""
    buffer, step = received.buffer, received.segment_size
    if len(buffer) <= step:
        return bool(buffer) and owners[buffer[0]] == owner
    return not bytes(buffer[::step]).translate(owners).strip(bytes([owner]))


def runs(received: Received, owners: Owners) -> Sequence[tuple[int, Received]]:
    """Returns the read, cut where the owner changes, each part with its owner."""
    buffer, step = received.buffer, received.segment_size
    if len(buffer) <= step:
        return [(owners[buffer[0]], received)] if buffer else []
    kinds = bytes(buffer[::step]).translate(owners)
    found: list[tuple[int, Received]] = []
    start = 0
    for index in range(1, len(kinds) + 1):
        if index == len(kinds) or kinds[index] != kinds[start]:
            part = received._replace(buffer=buffer[start * step : index * step])
            found.append((kinds[start], part))
            start = index
    return found
