"""Multiaddrs and peer ids together: /p2p/<id> at an address's end, and the addresses of noise-udp.

    /ip4|ip6|dns|dns4|dns6/<host>/udp/<port>/noise[/p2p/<id>]

Rule: an IPv6 zone is for this machine only; it is printed, and cut off before anything is sent.
"""

import ipaddress
from typing import NamedTuple

from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr
from p2pnode.wire.multiaddr import (
    Code,
    Component,
    Multiaddr,
    components,
    concat,
    join_components,
    split_last_peer,
)

_HOST_KINDS: dict[int, str] = {
    Code.IP4: "ip4",
    Code.IP6: "ip6",
    Code.DNS: "dns",
    Code.DNS4: "dns4",
    Code.DNS6: "dns6",
}


class UdpNoiseAddr(NamedTuple):
    """A noise-udp address, taken apart."""

    kind: str
    """ip4, ip6, dns, dns4 or dns6."""
    host: str
    port: int
    zone: str = ""
    """The interface of a link-local address: a name, or its index in digits."""
    peer_id: PeerId | None = None


class CircuitAddr(NamedTuple):
    """The address of a peer behind a relay, taken apart."""

    relay: PeerId
    address: Multiaddr
    """Of the relay, without its /p2p."""
    peer_id: PeerId | None


def circuit_addr(address: Multiaddr) -> CircuitAddr | None:
    """Returns the parts of <relay's noise-udp address>/p2p/<relay>/p2p-circuit[/p2p/<peer>].

    None for any other address, also for one that leads through two relays.
    """
    parts = components(address)
    codes = [part.code for part in parts]
    if codes.count(Code.P2P_CIRCUIT) != 1:
        return None
    at = codes.index(Code.P2P_CIRCUIT)
    before, after = parts[:at], parts[at + 1 :]
    if len(after) > 1 or any(part.code != Code.P2P for part in after):
        return None
    if not before or before[-1].code != Code.P2P:
        return None
    relay_address = join_components(before[:-1])
    if udp_noise_addr(relay_address) is None:
        return None
    peer_id = PeerId(after[0].value) if after else None
    return CircuitAddr(PeerId(before[-1].value), relay_address, peer_id)


def split_peer_id(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """Returns the address without /p2p/<id> at its end, and that id, or None where there is none.

    For an address of a circuit this is the peer behind the relay, or None.
    """
    rest, multihash = split_last_peer(address)
    return rest, None if multihash is None else PeerId(multihash)


def with_peer_id(address: Multiaddr, peer_id: PeerId) -> Multiaddr:
    """Returns the address with /p2p/<id> at its end, unless it is there already.

    Raises AddressError where it ends with somebody else's id.
    """
    _, present = split_peer_id(address)
    if present == peer_id:
        return address
    if present is not None:
        raise AddressError(f"{address} already names a peer, and not {peer_id}")
    return concat(address, join_components([Component(Code.P2P, peer_id.multihash)]))


def udp_noise_addr(address: Multiaddr) -> UdpNoiseAddr | None:
    """Returns the parts of a noise-udp address, or None for any other, also a relayed one."""
    parts = components(address)
    zone = ""
    if parts and parts[0].code == Code.IP6ZONE:
        zone = parts.pop(0).value.decode()
        if not parts or parts[0].code != Code.IP6:
            return None
    peer_id = None
    if parts and parts[-1].code == Code.P2P:
        peer_id = PeerId(parts.pop().value)
    if [part.code for part in parts[1:]] != [Code.UDP, Code.NOISE]:
        return None
    kind = _HOST_KINDS.get(parts[0].code)
    if kind is None:
        return None
    value = parts[0].value
    is_ip = kind in ("ip4", "ip6")
    host = str(ipaddress.ip_address(value)) if is_ip else value.decode()
    return UdpNoiseAddr(kind, host, int.from_bytes(parts[1].value, "big"), zone, peer_id)


def udp_noise_multiaddr(addr: SocketAddr, peer_id: PeerId | None = None) -> Multiaddr:
    """Returns the noise-udp address of an IP address and port, with a zone where it has a scope.

    Raises AddressError where the IP address or the port is none.
    """
    if not 0 <= addr.port <= 0xFFFF:
        raise AddressError(f"{addr.port} is not a UDP port")
    try:
        ip = ipaddress.ip_address(addr.ip)
    except ValueError as exc:
        raise AddressError(f"{addr.ip!r} is not an IP address") from exc
    parts = [
        Component(Code.IP4 if ip.version == 4 else Code.IP6, ip.packed),
        Component(Code.UDP, addr.port.to_bytes(2, "big")),
        Component(Code.NOISE, b""),
    ]
    if addr.scope_id and ip.version == 6:
        parts.insert(0, Component(Code.IP6ZONE, str(addr.scope_id).encode()))
    if peer_id is not None:
        parts.append(Component(Code.P2P, peer_id.multihash))
    return join_components(parts)
