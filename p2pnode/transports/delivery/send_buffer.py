"""The bytes of a stream that are not acknowledged yet.

The rule: a byte is copied at most once on its way from the application into a packet.  Writes are
kept as they come; small ones are gathered and large ones cut, so that neither many objects nor
long-acknowledged bytes are held.
"""

from bisect import bisect_right
from typing import Final

from p2pnode.machine import Buffer
from p2pnode.transports.delivery.held_bytes import HeldBytes

SMALL_WRITE: Final = 8 * 1024
"""bytes; chosen: gathering copies, which is cheaper than one object for each write below this"""
MAX_CHUNK: Final = 256 * 1024
"""bytes; chosen: memory is freed in steps of this as acknowledgements come"""

_EMPTY: Final = memoryview(b"")


class SendBuffer:
    """Bytes start..end-1 of a stream, as chunks."""

    __slots__ = (
        "_chunks",
        "_first_stop",
        "_held",
        "_recent",
        "_recent_start",
        "_recent_stop",
        "_starts",
        "end",
    )

    def __init__(self, held: HeldBytes) -> None:
        """`held` is the connection's."""
        self._held = held
        self._chunks: list[bytes | bytearray] = []
        self._starts: list[int] = []
        self._first_stop = 0
        # the chunk that was read last: nearly always the next read is from it
        self._recent = _EMPTY
        self._recent_start = 0
        self._recent_stop = 0
        self.end = 0

    def append(self, data: Buffer) -> None:
        """Takes the bytes; keeps `bytes` objects as they are and copies what may change."""
        size = len(data)
        self._held.to_send += size
        if size < SMALL_WRITE:
            self._gather(data)
            return
        if size <= MAX_CHUNK:
            self._push(data if type(data) is bytes else bytes(data))
            return
        view = memoryview(data)
        for start in range(0, size, MAX_CHUNK):
            self._push(bytes(view[start : start + MAX_CHUNK]))

    def read(self, start: int, stop: int) -> bytes:
        """Returns bytes start..stop-1, which must be here."""
        return bytes(self.view(start, stop))

    def view(self, start: int, stop: int) -> bytes | memoryview:
        """Returns bytes start..stop-1, which must be here, uncopied where that is possible."""
        base = self._recent_start
        if base <= start and stop <= self._recent_stop:
            return self._recent[start - base : stop - base]
        index = bisect_right(self._starts, start) - 1
        chunk = self._chunks[index]
        base = self._starts[index]
        if stop > base + len(chunk):
            return self._join(index, start, stop)
        view = memoryview(chunk)
        if isinstance(chunk, bytearray):
            # copied: it could not grow while a view of it exists
            return bytes(view[start - base : stop - base])
        self._recent, self._recent_start = view, base
        self._recent_stop = base + len(chunk)
        return view[start - base : stop - base]

    def free(self, upto: int) -> None:
        """Forgets the chunks that lie wholly below `upto`."""
        if upto < self._first_stop or not self._chunks:
            return
        count = bisect_right(self._starts, upto) - 1
        if upto >= self.end:
            count += 1
        start = self._starts[count] if count < len(self._starts) else self.end
        self._held.to_send -= start - self._starts[0]
        del self._chunks[:count], self._starts[:count]
        if self._chunks:
            self._first_stop = self._starts[0] + len(self._chunks[0])
        if self._recent_stop <= upto:
            self._recent = _EMPTY
            self._recent_start = self._recent_stop = 0

    def drop(self) -> None:
        """Forgets everything."""
        self.free(self.end)

    def count_held(self) -> int:
        """Counts anew what is kept, in bytes."""
        return sum(map(len, self._chunks))

    def _push(self, chunk: bytes | bytearray) -> None:
        self._starts.append(self.end)
        self._chunks.append(chunk)
        self.end += len(chunk)
        if len(self._chunks) == 1:
            self._first_stop = self.end

    def _gather(self, data: Buffer) -> None:
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) < SMALL_WRITE:
            last += data
            self.end += len(data)
            if len(self._chunks) == 1:
                self._first_stop = self.end
        else:
            self._push(bytearray(data))

    def _join(self, index: int, start: int, stop: int) -> bytes:
        pieces: list[memoryview] = []
        while start < stop:
            chunk = self._chunks[index]
            base = self._starts[index]
            end = min(stop, base + len(chunk))
            pieces.append(memoryview(chunk)[start - base : end - base])
            start = end
            index += 1
        return b"".join(pieces)
