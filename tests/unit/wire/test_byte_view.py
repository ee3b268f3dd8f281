import ctypes
import mmap
from array import array

import pytest

from p2pnode.wire.byte_view import byte_view


class Pair(ctypes.BigEndianStructure):
    _fields_ = (("a", ctypes.c_uint16), ("b", ctypes.c_uint32))


MATRIX = memoryview(bytes(range(24))).cast("B", (2, 3, 4))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"abc", b"abc"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abcdef")[1:3], b"bc"),
        (memoryview(b""), b""),
        (memoryview(b"abc").cast("c"), b"abc"),
        (memoryview(b"abc").cast("b"), b"abc"),
        (array("d", [1.5, -2.0]), array("d", [1.5, -2.0]).tobytes()),
        (array("d"), b""),
        (array("H", [1, 2, 3]), array("H", [1, 2, 3]).tobytes()),
        (MATRIX, bytes(range(24))),
        (MATRIX.cast("B").cast("I", (2, 3)), bytes(range(24))),
        (MATRIX[1:1], b""),
        (Pair(1, 2), bytes(Pair(1, 2))),
        ((ctypes.c_uint32.__ctype_be__ * 2)(1, 2), b"\0\0\0\1\0\0\0\2"),
        (mmap.mmap(-1, 16), bytes(16)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_bytes_of_whatever_is_bytes_like_are_seen(given: object, expected: bytes) -> None:
    view = byte_view(given)

    assert bytes(view) == expected
    assert len(view) == len(expected)
    assert bytes(view[1:3]) == expected[1:3]


@pytest.mark.parametrize("given", ["abc", 3, None, [1, 2], memoryview(b"abcd")[::2]])
def test_what_has_no_bytes_in_a_row_is_a_type_error(given: object) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        byte_view(given)


def test_nothing_is_copied_where_that_can_be() -> None:
    given = bytearray(b"abcd")
    view = byte_view(memoryview(given).cast("H"))
    given[0] = 0x7A
    assert bytes(view) == b"zbcd"
    assert byte_view(given) is given
