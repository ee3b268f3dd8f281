"""Which external port a new mapping gets (RFC 4787 section 4.2, RFC 7422 for blocks).

The pool knows no mappings: whether a port may be used is a question to its caller.
"""

from collections.abc import Callable
from random import Random

from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import Collision, NatBehaviour, PortChoice

RANDOM_TRIES = 16
"""Dice rolled for a free port before all are searched.  Chosen: enough up to a half-full range."""

IsFree = Callable[[int], bool]


class PortPool:
    """The ports of one public address."""

    def __init__(self, behaviour: NatBehaviour, rng: Random) -> None:
        self._behaviour = behaviour
        self._rng = rng
        self._first, self._last = behaviour.ports
        self._next = rng.randint(self._first, self._last)
        self._blocks: dict[str, list[int]] = {}  # inside host -> first port of each of its blocks
        self._free_blocks: list[int] = []
        if behaviour.port_choice is PortChoice.BLOCK:
            size = behaviour.block_size
            self._free_blocks = list(range(self._first, self._last + 2 - size, size))
            rng.shuffle(self._free_blocks)

    def choose(self, internal: SocketAddr, is_free: IsFree) -> int | None:
        """Returns a port for a new mapping of this endpoint, or None where there is none."""
        if self._behaviour.parity:
            parity, unchecked = internal.port & 1, is_free

            def is_free_and_even(port: int) -> bool:
                return port & 1 == parity and unchecked(port)

            is_free = is_free_and_even
        match self._behaviour.port_choice:
            case PortChoice.PRESERVING:
                return self._preserve(internal.port, is_free)
            case PortChoice.SEQUENTIAL:
                return self._sequential(is_free)
            case PortChoice.RANDOM:
                return self._random(self._first, self._last, is_free)
            case PortChoice.BLOCK:
                return self._from_block(internal.ip, is_free)

    def _preserve(self, wanted: int, is_free: IsFree) -> int | None:
        if self._first <= wanted <= self._last and is_free(wanted):
            return wanted
        match self._behaviour.collision:
            case Collision.NEXT:
                return self._search(wanted + 1, self._first, self._last, 1, is_free)
            case Collision.RANDOM | Collision.SHARE:
                return self._random(self._first, self._last, is_free)
            case Collision.DROP:
                return None

    def _sequential(self, is_free: IsFree) -> int | None:
        step = self._behaviour.port_step
        port = self._search(self._next, self._first, self._last, step, is_free)
        if port is not None:
            self._next = port + step
        return port

    def _random(self, first: int, last: int, is_free: IsFree) -> int | None:
        for _ in range(RANDOM_TRIES):
            port = self._rng.randint(first, last)
            if is_free(port):
                return port
        return self._search(self._rng.randint(first, last), first, last, 1, is_free)

    def _from_block(self, host: str, is_free: IsFree) -> int | None:
        blocks = self._blocks.setdefault(host, [])
        size = self._behaviour.block_size
        for first in blocks:
            port = self._random(first, first + size - 1, is_free)
            if port is not None:
                return port
        if len(blocks) >= self._behaviour.max_blocks or not self._free_blocks:
            return None
        blocks.append(self._free_blocks.pop())
        return self._random(blocks[-1], blocks[-1] + size - 1, is_free)

    @staticmethod
    def _search(start: int, first: int, last: int, step: int, is_free: IsFree) -> int | None:
        """Steps through the range, then looks at every port in turn where steps missed some."""
        count = last - first + 1
        for stride in (step, 1):
            for i in range(count):
                port = first + (start - first + i * stride) % count
                if is_free(port):
                    return port
            if stride == 1:
                break
        return None
