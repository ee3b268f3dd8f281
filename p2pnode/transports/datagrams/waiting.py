"""Packets that wait for their turn: bounded queues by connection or by network.

What is too much, or too old, is dropped where it has waited longest, unread, as a congested router
would.
"""

from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from p2pnode.clock import Instant
from p2pnode.machine import Received

READ_OVERHEAD: Final = 512
"""bytes that a read counts besides its own; measured: its objects, and the queue's place"""

MAX_WAIT: Final = 3.0
"""seconds after which a read is dropped; chosen: several PTOs, its sender has said it again"""

KeyT = TypeVar("KeyT", bound=Hashable)


class Queue:
    """The reads of one connection or network, oldest first."""

    __slots__ = ("came_at", "held_until", "reads", "size")

    def __init__(self) -> None:
        self.reads: deque[Received] = deque()
        self.came_at: deque[Instant] = deque()
        """When each of them came."""
        self.size = 0
        self.held_until: Instant = 0.0
        """When it has turns again; matters to one that is held."""


class Waiting(Generic[KeyT]):
    """Queues by key, in the order of their turns.  No call grows with how many there are.

    Every other turn is for a queue that has not had any yet (RFC 8290 calls those new): a peer that
    sends little waits for one of the others, and one that comes anew all the time shuts none out.
    Those that are held have no turns until their time has come; all are held equally long.
    """

    __slots__ = ("_fresh", "_is_fresh_next", "_max_queues", "_max_size", "held", "queues", "size")

    def __init__(self, max_size: int, max_queues: int) -> None:
        """Beyond `max_size` bytes, counted as in `size`, no queue grows beyond its share of that.

        For one queue more than `max_queues` the one whose turn is next is dropped.
        """
        self._max_size = max_size
        self._max_queues = max_queues
        self.queues: dict[KeyT, Queue] = {}
        self.held: dict[KeyT, Queue] = {}
        self._fresh: dict[KeyT, None] = {}
        self._is_fresh_next = True
        self.size = 0
        """bytes, with READ_OVERHEAD for each read; at most twice `max_size`"""

    def put(self, key: KeyT, received: Received, max_queue_size: int, now: Instant) -> int:
        """Puts a read at the end of a queue; returns how many bytes were dropped for it.

        One read is kept, however long it is.
        """
        # A socket's buffer was as long as the longest read; shrunk, it holds others apart for good.
        received = received._replace(buffer=bytes(memoryview(received.buffer)))
        queue = self.queues.get(key) or self.held.get(key)
        dropped = 0
        if queue is None:
            if len(self.queues) >= self._max_queues:
                dropped = self.drop(self.next()[1])
            queue = self.queues[key] = Queue()
            self._fresh[key] = None
        queue.reads.append(received)
        queue.came_at.append(now)
        size = _size(received)
        queue.size += size
        self.size += size
        share = self._max_size // (len(self.queues) + len(self.held))
        while len(queue.reads) > 1 and (
            queue.size > max_queue_size or (self.size > self._max_size and queue.size > share)
        ):
            dropped += _size(self.take(queue))
        return dropped

    def next(self) -> tuple[KeyT, Queue]:
        """Takes out the queue whose turn it is; KeyError where there is none."""
        key = next(iter(self._fresh if self._fresh and self._is_fresh_next else self.queues))
        self._is_fresh_next = not self._is_fresh_next
        self._fresh.pop(key, None)
        return key, self.queues.pop(key)

    def take(self, queue: Queue) -> Received:
        """Returns the oldest read of a queue."""
        received = queue.reads.popleft()
        queue.came_at.popleft()
        size = _size(received)
        queue.size -= size
        self.size -= size
        return received

    def give_back(self, key: KeyT, queue: Queue) -> None:
        """Ends a queue's turn: what is left waits for the next one, behind everybody else.

        What was put for the key meanwhile is the rest of what its turn began with.
        """
        rest = self.queues.pop(key, None)
        self._fresh.pop(key, None)
        if rest is not None:
            queue.reads.extendleft(reversed(rest.reads))
            queue.came_at.extendleft(reversed(rest.came_at))
            queue.size += rest.size
        if queue.reads:
            self.queues[key] = queue

    def hold(self, key: KeyT, queue: Queue, until: Instant) -> None:
        """Ends a queue's turn as `give_back` does; the next one is not before `until`."""
        self.give_back(key, queue)
        if self.queues.pop(key, None) is not None:
            queue.held_until = until
            self.held[key] = queue

    def release(self, now: Instant) -> None:
        """Gives turns to the queues that were held long enough."""
        while self.held:
            key = next(iter(self.held))
            if self.held[key].held_until > now:
                break
            self.queues[key] = self.held.pop(key)

    @property
    def held_until(self) -> Instant:
        """When the first of those that are held has its turn; StopIteration where there is none."""
        return next(iter(self.held.values())).held_until

    def drop_late(self, queue: Queue, now: Instant) -> int:
        """Drops from a queue that was taken out what waits too long; returns how many bytes."""
        dropped = 0
        while queue.came_at and queue.came_at[0] < now - MAX_WAIT:
            dropped += _size(self.take(queue))
        return dropped

    def drop(self, queue: Queue) -> int:
        """Forgets what is left of a queue that was taken out; returns its size in bytes."""
        self.size -= queue.size
        return queue.size


def _size(received: Received) -> int:
    return len(received.buffer) + READ_OVERHEAD
