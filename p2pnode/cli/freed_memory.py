"""Gives freed memory back to the system, where the C library keeps it.

glibc returns what lies at the end of its heap and keeps what lies between: after a time of many
connections that is a good part of what they took.

Rule: memory is given back once WORTH bytes of it are freed, not before: what is in use may be
looked up often, but giving back takes up to some hundredths of a second.
"""

import ctypes
from collections.abc import Callable
from typing import Final

import trio

INTERVAL: Final = 15.0
"""seconds between two looks; chosen: memory has fallen back within a minute of what filled it"""
WORTH: Final = 4 * 1024 * 1024
"""bytes; chosen: what is less is soon used again"""


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2`, sizes in bytes."""

    _fields_ = [  # type: ignore[mutable-override] # as ctypes has it
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class Heap:
    """The C library's, by what it can be asked."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises AttributeError where it is not glibc 2.33 or later."""
        self._info = library.mallinfo2
        self._info.restype = _Mallinfo2
        self._trim = library.malloc_trim

    @property
    def used(self) -> int:
        """Bytes that somebody uses."""
        return int(self._info().uordblks)

    def give_back(self) -> None:
        self._trim(0)


class FreedMemory:
    """Knows how much has been freed since memory was given back."""

    def __init__(self, used: Callable[[], int], give_back: Callable[[], object]) -> None:
        self._used = used
        self._give_back = give_back
        self._most = used()

    def look(self) -> None:
        """Gives back what was freed, where that is worth it."""
        used = self._used()
        self._most = max(self._most, used)
        if self._most - used >= WORTH:
            self._give_back()
            self._most = used


async def give_back_freed_memory() -> None:
    """Looks from time to time, until it is cancelled; ends at once where there is no such heap."""
    try:
        heap = Heap(ctypes.CDLL(None))
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    freed = FreedMemory(lambda: heap.used, heap.give_back)
    while True:
        await trio.sleep(INTERVAL)
        freed.look()
