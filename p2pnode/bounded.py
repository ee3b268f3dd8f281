"""A mapping that cannot grow without end, for what is remembered of peers and networks."""

from collections.abc import Iterator, MutableMapping
from typing import TypeVar, overload

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
DefaultT = TypeVar("DefaultT")


class Bounded(MutableMapping[KeyT, ValueT]):
    """Holds `size` entries; for one more, the one that was set longest ago is forgotten.

    Iteration is from the oldest to the newest; an entry that is set again is new again.
    """

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        assert size > 0
        self._size = size
        self._entries: dict[KeyT, ValueT] = {}

    def put(self, key: KeyT, value: ValueT) -> tuple[KeyT, ValueT] | None:
        """Sets an entry, and returns the one that was forgotten for it."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) <= self._size:
            return None
        oldest = next(iter(self._entries))
        return oldest, self._entries.pop(oldest)

    @overload
    def get(self, key: KeyT, /) -> ValueT | None: ...
    @overload
    def get(self, key: KeyT, /, default: ValueT) -> ValueT: ...
    @overload
    def get(self, key: KeyT, /, default: DefaultT) -> ValueT | DefaultT: ...
    def get(self, key: KeyT, /, default: object = None) -> object:
        """Returns the entry, or `default`; asked with every packet, so without a detour."""
        return self._entries.get(key, default)

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self.put(key, value)

    def __getitem__(self, key: KeyT) -> ValueT:
        return self._entries[key]

    def __delitem__(self, key: KeyT) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[KeyT]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
