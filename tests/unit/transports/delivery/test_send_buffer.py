import pytest

from p2pnode.transports.delivery.send_buffer import MAX_CHUNK, SMALL_WRITE, SendBuffer
from tests.support.held import nothing_held


def numbered(size, start=0):
    return bytes((start + n) * 7 % 251 for n in range(size))


def filled(*sizes):
    buffer = SendBuffer(nothing_held())
    data = b""
    for size in sizes:
        piece = numbered(size, len(data))
        buffer.append(piece)
        data += piece
    return buffer, data


@pytest.mark.parametrize(
    "sizes", [(1,), (10, 20, 30), (SMALL_WRITE, 5, SMALL_WRITE), (2 * MAX_CHUNK + 5, 3)]
)
def test_any_part_can_be_read_again(sizes):
    buffer, data = filled(*sizes)
    assert buffer.end == len(data)
    cuts = sorted({0, 1, len(data) // 3, len(data) // 2, len(data) - 1, len(data), *sizes})
    for start in cuts:
        for stop in cuts:
            if start < stop <= len(data):
                assert buffer.read(start, stop) == data[start:stop]


def test_what_was_freed_is_gone_and_the_rest_stays():
    buffer, data = filled(SMALL_WRITE, SMALL_WRITE, SMALL_WRITE)
    assert buffer.read(0, 5) == data[:5]
    buffer.free(SMALL_WRITE + 1)
    assert buffer.read(SMALL_WRITE + 1, SMALL_WRITE + 5) == data[SMALL_WRITE + 1 : SMALL_WRITE + 5]
    buffer.free(3 * SMALL_WRITE)
    buffer.append(b"more")
    assert buffer.read(3 * SMALL_WRITE, buffer.end) == b"more"


def test_a_mutable_buffer_may_change_after_the_write():
    data = bytearray(b"x" * SMALL_WRITE)
    buffer = SendBuffer(nothing_held())
    buffer.append(data)
    buffer.append(memoryview(data)[:3])
    data[:] = b"y" * SMALL_WRITE
    assert buffer.read(0, buffer.end) == b"x" * (SMALL_WRITE + 3)


def test_a_view_of_small_writes_does_not_keep_them_from_growing():
    buffer, data = filled(5)
    view = buffer.view(0, 5)
    buffer.append(b"more")
    assert bytes(view) == data
    assert buffer.read(0, 9) == data + b"more"


def test_a_large_write_is_viewed_without_a_copy():
    buffer = SendBuffer(nothing_held())
    data = bytes(SMALL_WRITE)
    buffer.append(data)
    view = buffer.view(10, 20)
    assert isinstance(view, memoryview)
    assert view.obj is data
