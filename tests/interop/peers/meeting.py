"""Two peers of which one has dialled the other."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.interop.peers.peer import Peer, running
from tests.interop.peers.toolchains import Command


class Meeting(NamedTuple):
    dialling: Peer
    dialled: Peer


@contextmanager
def meet(
    dialling: tuple[str, Command], dialled: tuple[str, Command], transport: str, logs: Path
) -> Generator[Meeting]:
    """Yields two peers, connected, each given by its name and by what starts it."""
    flags = ("--transport", transport)
    with (
        running(*dialling, logs / "dialling", *flags) as one,
        running(*dialled, logs / "dialled", *flags) as other,
    ):
        assert one.do("dial", addr=other.addr) == {"id": other.id}
        yield Meeting(one, other)
