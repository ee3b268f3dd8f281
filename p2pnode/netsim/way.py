"""Whether one host can connect to another by an ordered pipe, and what the pipe is like.

It follows the plugs as a first packet would go, once: what stands there lets it through or not.
Rule: boxes are asked who may begin, and remember nothing.  So a host behind a NAT box, or behind a
firewall that filters, reaches others and is not reached; forwarded ports are for datagrams.
"""

from typing import TYPE_CHECKING, NamedTuple

from p2pnode.machine import SocketAddr
from p2pnode.netsim.firewall import Firewall
from p2pnode.netsim.link import Link, LinkParams
from p2pnode.netsim.nat_box import NatBox
from p2pnode.netsim.router import Router
from p2pnode.netsim.stack import Interface
from p2pnode.netsim.udp_block import UdpBlock

if TYPE_CHECKING:
    from p2pnode.netsim.part import Part, Port

MAX_PARTS = 256
"""Parts on the way.  Chosen: routers that send in a circle."""


class Way(NamedTuple):
    """How one host reaches another.  Links and interfaces are looked at again as bytes pass."""

    source_ip: str
    """What the far host sees: the NAT box's address where there is one."""
    interfaces: tuple[Interface, ...]
    """Where it leaves and where it arrives; none for a host that connects to itself."""
    links: tuple[tuple[Link, bool], ...]
    """The cables, and whether the way there goes up (from the inside to the outside)."""

    @property
    def far(self) -> "Part | None":
        """The host that is reached; None for a host that connects to itself."""
        return self.interfaces[-1].part if self.interfaces else None

    def seen(self, port: int) -> SocketAddr:
        """Returns the address that the far host sees, of who leaves from that port."""
        is_link_local = self.source_ip.startswith("fe80:") and bool(self.interfaces)
        return SocketAddr(self.source_ip, port, self.interfaces[-1].index if is_link_local else 0)

    @property
    def is_up(self) -> bool:
        return all(i.is_up for i in self.interfaces) and all(link.is_up for link, _ in self.links)

    def params(self, *, there: bool) -> list[LinkParams]:
        """Returns what the links do in that direction."""
        return [link.up if is_up is there else link.down for link, is_up in self.links]


def find_way(interface: Interface, source_ip: str, to_ip: str) -> Way | None:
    """Returns the way from this interface to the host that has the address, or None."""
    links: list[tuple[Link, bool]] = []
    port: Port = interface
    for _ in range(MAX_PARTS):
        entered = port.peer
        if entered is None:
            return None
        part = entered.part
        if isinstance(entered, Interface):
            return Way(source_ip, (interface, entered), tuple(links))
        match part:
            case Link():
                links.append((part, entered is part.inside))
                port = part.outside if entered is part.inside else part.inside
            case Router():
                out = part.find(to_ip)
                if out is None or out is entered:
                    return None
                port = out
            case Firewall():
                if entered is part.outside and part.filters(to_ip):
                    return None
                port = part.outside if entered is part.inside else part.inside
            case NatBox():
                if part.translates(to_ip):
                    if entered is part.outside or to_ip in part.public_ips:
                        return None
                    source_ip = part.public_ips[0]
                port = part.outside if entered is part.inside else part.inside
            case UdpBlock():
                port = part.outside if entered is part.inside else part.inside
            case _:
                return None
    return None
