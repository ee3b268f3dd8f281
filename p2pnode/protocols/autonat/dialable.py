"""Which addresses a server dials for a stranger, and under which conditions (specs/autonat.md).

Rules: public IP addresses only, no names, no relays, nothing in a translator's range; only what
this node's own dialler speaks and its network carries; never its own address, which would prove a
hairpin; and an address on another IP than the requester's costs the requester dial data (v2) or is
not dialled at all (v1).
"""

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr, transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.wire.ip_ranges import IpScope, ip_scope, is_nat64
from p2pnode.wire.multiaddr import (
    Code,
    Component,
    Multiaddr,
    components,
    is_relayed,
    join_components,
)
from p2pnode.wire.transport_name import TransportName, transport_of

MAX_ADDRS_V1 = 16  # considered of a request; go-libp2p


class Asker(NamedTuple):
    """The peer that asks for a dial-back."""

    peer_id: PeerId
    observed: SocketAddr | None
    """Where its connection comes from, or None where a relay lies between."""
    transport: TransportName
    """Of its connection."""


@dataclass(frozen=True, slots=True)
class DialAbility:
    """What this node can dial."""

    transports: tuple[TransportName, ...]
    ipv4: bool = True
    ipv6: bool = True
    own_ips: frozenset[str] = frozenset()
    """Our own external addresses, canonical text."""


class Refusal(enum.Enum):
    """Why an address is not dialled; the value says it to people."""

    RELAYED = "it leads through a relay"
    NO_IP = "it names no IP address"
    NOT_PUBLIC = "it is not a public address"
    TRANSLATOR = "a translator would choose who is dialled"
    FAMILY = "this node has no network of that IP version"
    TRANSPORT = "this node does not dial that transport"
    OWN = "it is this node's own address"
    OTHER_PEER = "it names another peer"


@dataclass(frozen=True, slots=True)
class Dialable:
    """An address that may be dialled."""

    index: int
    """Its place in the request."""
    address: Multiaddr
    needs_dial_data: bool
    """True where its IP is not the one the requester was observed at."""


def split_ip(address: Multiaddr) -> tuple[str, list[Component]] | None:
    """Returns the address's IP in text and what follows, or None where it begins otherwise."""
    parts = components(address)
    if not parts or parts[0].code not in (Code.IP4, Code.IP6):
        return None
    return str(ipaddress.ip_address(parts[0].value)), parts[1:]


def refusal(address: Multiaddr, asker: Asker, ability: DialAbility) -> Refusal | None:
    """Returns why an address is never dialled for this asker, or None where it may be."""
    if is_relayed(address):
        return Refusal.RELAYED
    split = split_ip(address)
    if split is None:
        return Refusal.NO_IP
    ip, rest = split
    if ip_scope(ip) is not IpScope.PUBLIC:
        return Refusal.NOT_PUBLIC
    if ":" in ip and is_nat64(ip):
        return Refusal.TRANSLATOR
    if not (ability.ipv6 if ":" in ip else ability.ipv4):
        return Refusal.FAMILY
    if ip in ability.own_ips:
        return Refusal.OWN
    if rest and rest[-1].code == Code.P2P and rest.pop().value != asker.peer_id.to_bytes():
        return Refusal.OTHER_PEER
    if transport_of(tuple(part.code for part in rest)) not in ability.transports:
        return Refusal.TRANSPORT
    if rest[0].value == b"\0\0":
        return Refusal.TRANSPORT
    return None


def probe_target(address: Multiaddr) -> SocketAddr | None:
    """Returns where a mere datagram tries an address: None where the port is not UDP's."""
    parts = transport_addr(address)
    return None if parts is None or parts.transport.carrier != "udp" else parts.socket_addr


def choose_v2(
    addrs: Sequence[Multiaddr | None], asker: Asker, ability: DialAbility
) -> Dialable | None:
    """Returns the first address of a v2 request that may be dialled; the others never are."""
    for index, address in enumerate(addrs):
        if address is None or refusal(address, asker, ability) is not None:
            continue
        split = split_ip(address)
        is_same_ip = (
            split is not None and asker.observed is not None and split[0] == asker.observed.ip
        )
        return Dialable(index, address, needs_dial_data=not is_same_ip)
    return None


def choose_v1(
    addrs: Sequence[Multiaddr], asker: Asker, ability: DialAbility
) -> tuple[Multiaddr, ...]:
    """Returns what of a v1 request may be dialled, all at the IP where the requester was observed.

    As go-libp2p does it, the observed address comes first and an address with another IP is dialled
    at the observed one: a node behind a NAT knows its port, not its address.  Empty for requests
    over a relay.
    """
    if asker.observed is None:
        return ()
    observed_ip = ipaddress.ip_address(asker.observed.ip)
    first = Component(Code.IP4 if observed_ip.version == 4 else Code.IP6, observed_ip.packed)
    observed = transport_multiaddr(asker.observed._replace(scope_id=0), asker.transport)
    chosen: dict[Multiaddr, None] = {}
    for address in (observed, *addrs[:MAX_ADDRS_V1]):
        split = split_ip(address)
        if split is None or (":" in split[0]) is not (observed_ip.version == 6):
            continue
        rewritten = join_components([first, *split[1]])
        if refusal(rewritten, asker, ability) is None:
            chosen[rewritten] = None
    return tuple(chosen)
