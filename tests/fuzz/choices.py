"""A fuzzer's bytes, read as decisions.  When they run out, everything is zero."""


class Choices:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, limit: int) -> int:
        """Returns a number of two bytes below a limit."""
        return (self.byte() << 8 | self.byte()) % limit

    def take(self, size: int) -> bytes:
        """Returns up to `size` bytes."""
        part = self._data[self._at : self._at + size]
        self._at += size
        return part

    def mutate(self, data: bytes) -> bytes:
        """Returns data with up to three bytes changed, cut off or put in."""
        changed = bytearray(data)
        for _ in range(self.byte() % 4):
            at = self.below(len(changed) + 1)
            match self.byte() % 4:
                case 0:
                    changed[at:] = b""
                case 1:
                    changed[at:at] = self.take(self.byte() % 8)
                case _:
                    changed[at : at + 1] = self.take(1)
        return bytes(changed)
