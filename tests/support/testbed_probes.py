"""Finds out with plain UDP sockets what a NAT does, as RFC 5780 does with a server's two addresses.

The sockets are in the hosts' namespaces and this process reads them all, so nothing has to be
started there.
"""

import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.testbed import Site

Address = tuple[str, int]

ANSWER_TIMEOUT = 2.0
"""seconds for what will come; it takes milliseconds"""

SILENCE = 0.1
"""seconds after which what has not come will not come: many times the round trip of fast sites"""


class Probe:
    """A UDP socket at a host."""

    def __init__(self, site: Site, port: int = 0, *, host: int = 0, ipv6: bool = False) -> None:
        family, wildcard = (socket.AF_INET6, "::") if ipv6 else (socket.AF_INET, "0.0.0.0")
        self.socket = site.hosts[host].socket(family)
        self.socket.bind((wildcard, port))
        self.port: int = self.socket.getsockname()[1]

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, target: Address, text: str = "probe", *, ttl: int = 64) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        self.socket.sendto(text.encode(), target)

    def receive(self, timeout: float = ANSWER_TIMEOUT) -> tuple[str, Address]:
        """Returns a text and who sent it; raises TimeoutError."""
        self.socket.settimeout(timeout)
        data, source = self.socket.recvfrom(2000)
        return data.decode(), (source[0], source[1])

    def texts(self, window: float = SILENCE) -> set[str]:
        """Returns everything that comes until nothing comes any more."""
        found: set[str] = set()
        try:
            while True:
                found.add(self.receive(window)[0])
        except TimeoutError:
            return found


class Stranger(NamedTuple):
    """A public host with two sockets."""

    site: Site
    first: Probe
    second: Probe

    def address(self, probe: Probe) -> Address:
        return self.site.public_ip, probe.port


@contextmanager
def stranger(site: Site) -> Generator[Stranger, None, None]:
    with Probe(site) as first, Probe(site) as second:
        yield Stranger(site, first, second)


def mapping(site: Site, near: Stranger, far: Stranger) -> Dependence | None:
    """Returns on what of the remote address the external one depends; None if it is the host's."""
    with Probe(site) as inside:
        seen: list[Address] = []
        for remote, probe in ((near, near.first), (near, near.second), (far, far.first)):
            inside.send(remote.address(probe))
            seen.append(probe.receive()[1])
        if seen == [(site.host_ips[0], inside.port)] * 3:
            return None
    if seen[0] != seen[1]:
        return Dependence.ADDRESS_AND_PORT_DEPENDENT
    return Dependence.ENDPOINT_INDEPENDENT if seen[1] == seen[2] else Dependence.ADDRESS_DEPENDENT


def filtering(site: Site, near: Stranger, far: Stranger) -> Dependence:
    """Returns what of the remote address must be known for its packets to get in."""
    with Probe(site) as inside:
        inside.send(near.address(near.first))
        _, external = near.first.receive()
        near.second.send(external, "same address")
        far.first.send(external, "other address")
        near.first.send(external, "who was asked")
        arrived: set[str] = set()
        while "who was asked" not in arrived:
            arrived.add(inside.receive()[0])
        arrived |= inside.texts()
    if "same address" not in arrived:
        return Dependence.ADDRESS_AND_PORT_DEPENDENT
    if "other address" not in arrived:
        return Dependence.ADDRESS_DEPENDENT
    return Dependence.ENDPOINT_INDEPENDENT


def gets_in_unasked(site: Site, who: Stranger) -> bool:
    """Whether a packet reaches a socket that has sent nothing."""
    with Probe(site) as inside:
        who.first.send((site.public_ip, inside.port), "unasked")
        return inside.texts() == {"unasked"}


def round_trip(inside: Probe, target: Address, echo: Probe) -> float:
    """Returns seconds until an echo of this process is back."""
    start = time.monotonic()
    inside.send(target)
    text, source = echo.receive()
    echo.send(source, text)
    inside.receive()
    return time.monotonic() - start


def processes_inside(inodes: Sequence[int]) -> list[str]:
    """Returns the ids of the processes that are in these network namespaces."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):  # it may end at any moment
            if entry.stat().st_ino in inodes:
                found.append(entry.parts[2])
    return found
