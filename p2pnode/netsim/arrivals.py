"""Datagrams that wait for a host's machine, joined as Linux joins them."""

from typing import NamedTuple

from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.netsim.packet import MAX_UDP_PAYLOAD


class Arrival(NamedTuple):
    """A datagram that waits for the machine."""

    socket: SocketId
    local_ip: str | None
    remote: SocketAddr
    ecn: int
    payload: bytes


def coalesce(arrivals: list[Arrival], max_segments: int) -> list[Received]:
    """Joins what Linux GRO would: neighbours of one flow and size, up to and with a shorter one."""
    batch: list[Received] = []
    i = 0
    while i < len(arrivals):
        socket, local_ip, remote, ecn, payload = first = arrivals[i]
        size = total = len(payload)
        parts = [payload]
        i += 1
        while i < len(arrivals) and len(parts) < max_segments and arrivals[i][:4] == first[:4]:
            following = arrivals[i].payload
            total += len(following)
            if not following or len(following) > size or total > MAX_UDP_PAYLOAD:
                break
            parts.append(following)
            i += 1
            if len(following) < size:
                break
        batch.append(Received(socket, local_ip, remote, ecn, size, b"".join(parts)))
    return batch
