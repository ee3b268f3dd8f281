"""Where the builds run when no network has to be made for them."""

from typing import NamedTuple


class Here(NamedTuple):
    """This machine, in no namespace."""

    prefix: tuple[str, ...] = ()
