"""A file on its way between two sites: made, watched, held up, and compared when it has arrived."""

import hashlib
import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from p2pnode.testbed import Site
from tests.netns.program import Line
from tests.netns.traversal import RunningNode, Watched

TRANSFER_TIMEOUT = 30.0
"""seconds; a file takes four or eight, what happens to it meanwhile one to three more"""


class File(NamedTuple):
    """One that is to be sent."""

    path: str
    size: int
    sha256: str


def make_file(path: Path, size: int) -> File:
    """Writes what no compression or accident makes right."""
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    return File(str(path), size, hashlib.sha256(content).hexdigest())


def sha256_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def assert_arrives(file: File, sending: Watched, receiver: RunningNode) -> Line:
    """Waits for the end of the transfer; returns what the receiver says of it."""
    received = (await receiver.event("received", within=TRANSFER_TIMEOUT)).line
    sent = (await sending.event("sent")).line
    assert file.sha256 == sent["sha256"] == received["sha256"]
    assert file.sha256 == sha256_of(received["file"])
    return received


async def share_of_file(file: File, receiver: RunningNode, share: float) -> None:
    """Waits until so much of the file has reached the receiver's line."""
    with trio.fail_after(TRANSFER_TIMEOUT):
        while receiver.site.traffic().received_bytes < share * file.size:  # noqa: ASYNC110
            await trio.sleep(0.02)


@contextmanager
def wall(one: Site, other: Site) -> Generator[None, None, None]:
    """Nothing gets from one site to the other directly, for a time."""
    router = one.routers[0]
    drop = f"ip saddr {other.public_ip} drop; ip daddr {other.public_ip} drop;"
    chain = f"chain forward {{ type filter hook forward priority -10; {drop} }}"
    router.run("nft", "-f", "-", stdin=f"table ip wall {{\n{chain}\n}}\n")
    yield
    router.run("nft", "delete", "table", "ip", "wall")
