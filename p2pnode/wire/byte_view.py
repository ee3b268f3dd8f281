"""What an application gives as bytes, seen as bytes.

Rule: a length is a number of bytes.  `len` of an array of doubles is not, and slices of it are not
bytes either; so what comes from outside is looked at through here once.
"""

from p2pnode.machine import Buffer


def byte_view(data: object) -> Buffer:
    """Returns the bytes of a bytes-like object, one an item, uncopied where that can be.

    Items may have any size and format, and any number of dimensions in C order.  Raises TypeError
    for what is not bytes-like, and for what is not contiguous: its bytes have no order of their
    own.
    """
    if isinstance(data, (bytes, bytearray)):
        return data
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None
    if view.format == "B" and view.ndim == 1 and view.contiguous:
        return view
    if not view.c_contiguous:
        raise TypeError("a contiguous bytes-like object is required")
    if not view.nbytes:
        return b""
    try:
        return view.cast("B")
    except ValueError:  # items of several fields, or not in this machine's order of bytes
        return view.tobytes()
