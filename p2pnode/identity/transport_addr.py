"""Addresses of transports, taken apart and put together: one type for all of them.

    [/ip6zone/<zone>]/ip4|ip6|dns|dns4|dns6/<host>/udp|tcp/<port>[/noise|/quic-v1][/p2p/<id>]

Rule: an IPv6 zone is for this machine only; it is printed, and cut off before anything is sent.
"""

import ipaddress
from typing import Final, NamedTuple

from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr
from p2pnode.wire.multiaddr import Code, Component, Multiaddr, components, join_components
from p2pnode.wire.transport_name import TransportName, transport_of

_HOST_KINDS: Final[dict[int, str]] = {
    Code.IP4: "ip4",
    Code.IP6: "ip6",
    Code.DNS: "dns",
    Code.DNS4: "dns4",
    Code.DNS6: "dns6",
}


class TransportAddr(NamedTuple):
    """The address of a host and a transport there, taken apart."""

    kind: str
    """ip4, ip6, dns, dns4 or dns6."""
    host: str
    port: int
    transport: TransportName
    zone: str = ""
    """The interface of a link-local address: a name, or its index in digits."""
    peer_id: PeerId | None = None

    @property
    def is_ip(self) -> bool:
        """False where a name has to be looked up first."""
        return self.kind in ("ip4", "ip6")

    @property
    def socket_addr(self) -> SocketAddr | None:
        """IP address and port, or None for a name; a zone counts where it is an index."""
        if not self.is_ip:
            return None
        is_index = self.zone.isascii() and self.zone.isdigit()
        return SocketAddr(self.host, self.port, int(self.zone) if is_index else 0)


def transport_addr(address: Multiaddr) -> TransportAddr | None:
    """Returns the parts of a transport's address, or None for any other, also a relayed one."""
    parts = components(address)
    zone = ""
    if parts and parts[0].code == Code.IP6ZONE:
        zone = parts.pop(0).value.decode()
        if not parts or parts[0].code != Code.IP6:
            return None
    peer_id = None
    if parts and parts[-1].code == Code.P2P:
        peer_id = PeerId(parts.pop().value)
    kind = _HOST_KINDS.get(parts[0].code) if parts else None
    transport = transport_of(tuple(part.code for part in parts[1:]))
    if kind is None or transport is None:
        return None
    value = parts[0].value
    host = str(ipaddress.ip_address(value)) if kind in ("ip4", "ip6") else value.decode()
    port = int.from_bytes(parts[1].value, "big")
    return TransportAddr(kind, host, port, transport, zone, peer_id)


def transport_multiaddr(
    addr: SocketAddr, transport: TransportName, peer_id: PeerId | None = None
) -> Multiaddr:
    """Returns the address of a transport at an IP address and port, with a zone where it has one.

    Raises AddressError where the IP address or the port is none.
    """
    if not 0 <= addr.port <= 0xFFFF:
        raise AddressError(f"{addr.port} is not a port")
    try:
        ip = ipaddress.ip_address(addr.ip)
    except ValueError as exc:
        raise AddressError(f"{addr.ip!r} is not an IP address") from exc
    port_code, *others = transport.codes
    parts = [
        Component(Code.IP4 if ip.version == 4 else Code.IP6, ip.packed),
        Component(port_code, addr.port.to_bytes(2, "big")),
        *(Component(code, b"") for code in others),
    ]
    if addr.scope_id and ip.version == 6:
        parts.insert(0, Component(Code.IP6ZONE, str(addr.scope_id).encode()))
    if peer_id is not None:
        parts.append(Component(Code.P2P, peer_id.multihash))
    return join_components(parts)
