"""Whether TCP gets through to somebody: what a netcheck asks where nothing is heard over UDP."""

from collections.abc import Iterable
from typing import Final

import trio

from p2pnode.machine import SocketAddr

PATIENCE: Final = 1.5
"""seconds; chosen: the first retransmission of a SYN comes after one (RFC 6298)"""


async def hosts_reached(places: Iterable[SocketAddr]) -> int:
    """Returns how many hosts take a connection at one of these ports.  Cancel-safe."""
    reached: dict[str, None] = {}

    async def connect(place: SocketAddr) -> None:
        host = f"{place.ip}%{place.scope_id}" if place.scope_id else place.ip
        try:
            stream = await trio.open_tcp_stream(host, place.port)
        except OSError:
            return
        reached[place.ip] = None
        await trio.aclose_forcefully(stream)

    with trio.move_on_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for place in dict.fromkeys(places):
                nursery.start_soon(connect, place)
    return len(reached)
