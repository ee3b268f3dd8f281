"""Opens the sockets of a node: where it listens, and what it dials from otherwise.

Rule: the sockets that listen also dial, so that one NAT mapping serves all peers; a family without
a socket on all interfaces gets one that only dials.
"""

import errno
import ipaddress
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Final, NamedTuple

from p2pnode.errors import AddressError, ListenError
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.dial_target import zone_hint, zone_index
from p2pnode.io.driver import DatagramSocket
from p2pnode.io.interfaces import InterfaceAddress, read_interfaces
from p2pnode.io.udp.open import open_udp_socket
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.wire.ip_ranges import is_link_local, why_no_host
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from p2pnode.wire.transport_name import TransportName

logger = logging.getLogger(__name__)

WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - a peer is there for everybody

_GIVE_ANOTHER = "give an address of this machine, or 0.0.0.0 or :: for all"
_MAX_PREFIX_WITH_BROADCAST = 30  # bits; RFC 3021: a /31 is two hosts and nothing else

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class NodeSocket(NamedTuple):
    """A socket of a node, and the address that it is bound to."""

    socket: DatagramSocket
    local: SocketAddr
    is_listening: bool


def open_all_interfaces(port: int, stack: ExitStack) -> list[NodeSocket]:
    """Returns sockets that listen on all interfaces, as far as the machine has IPv4 and IPv6.

    `stack` closes them.  Raises ListenError.
    """
    ids = _socket_ids()
    opened: list[NodeSocket] = []
    missing: ListenError | None = None
    for wildcard in WILDCARDS:
        try:
            opened.append(_open(SocketAddr(wildcard, port), ids, stack, is_listening=True))
        except ListenError as exc:
            if not _is_family_missing(exc):
                raise
            logger.debug("%s", exc)
            missing = exc
    if missing is not None and not opened:
        raise missing
    return opened


def open_sockets(listen: Sequence[Multiaddr | str], stack: ExitStack) -> list[NodeSocket]:
    """Returns sockets for these addresses, and those to dial from where they do not suffice.

    `stack` closes them.  Raises ListenError, or AddressError for an address that does not parse.
    """
    ids = _socket_ids()
    wanted = dict.fromkeys(listen_address(address) for address in listen)
    opened = [_open(address, ids, stack, is_listening=True) for address in wanted]
    covered = [s.local.ip for s in opened]
    missing: ListenError | None = None
    for wildcard in WILDCARDS:
        if wildcard in covered:
            continue
        try:
            opened.append(_open(SocketAddr(wildcard, 0), ids, stack, is_listening=False))
        except ListenError as exc:
            logger.debug("%s", exc)
            missing = exc
    if missing is not None and not opened:
        raise missing
    return opened


def open_probe_sockets(sockets: Sequence[NodeSocket], stack: ExitStack) -> list[NodeSocket]:
    """Returns a socket for dial-backs for each family that the node listens in.

    What cannot be opened is left out: the node then helps nobody with that family.
    """
    ids = map(SocketId, count(max((s.socket.socket_id for s in sockets), default=-1) + 1))
    opened: list[NodeSocket] = []
    for is_ipv6, wildcard in enumerate(WILDCARDS):
        if any(s.is_listening and s.local.is_ipv6 == bool(is_ipv6) for s in sockets):
            try:
                opened.append(_open(SocketAddr(wildcard, 0), ids, stack, is_listening=False))
            except ListenError as exc:
                logger.debug("no dial-backs from %s: %s", wildcard, exc)
    return opened


def listen_address(
    given: Multiaddr | str,
    interfaces: Callable[[], tuple[InterfaceAddress, ...]] = read_interfaces,
) -> SocketAddr:
    """Returns what to bind a socket to.  Raises AddressError for what is no such address.

    Systems take broadcast and multicast addresses, and packets for a whole network arrive there;
    but answers would leave from another address, and nobody could dial it.
    """
    address = parse_multiaddr(given) if isinstance(given, str) else given
    # callers may have no type checker
    if not isinstance(address, Multiaddr):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an address is a multiaddr or its text, not {type(given).__name__}")
    parts = transport_addr(address)
    if parts is None or not parts.is_ip or parts.transport is not TransportName.NOISE_UDP:
        raise AddressError(
            f"cannot listen on {given}: not an address such as /ip4/0.0.0.0/udp/4001/noise"
        )
    if parts.peer_id is not None:
        raise AddressError(
            f"cannot listen on {given}: leave out /p2p/{parts.peer_id}, for a node listens under "
            "the id of its own key"
        )
    if (reason := _why_not_ours(parts.host, has_zone=bool(parts.zone))) is not None:
        raise AddressError(f"cannot listen on {given}: {reason}")
    if _is_broadcast(parts.host, interfaces()):
        raise AddressError(
            f"cannot listen on {given}: {parts.host} is the broadcast address of a network; "
            f"{_GIVE_ANOTHER}"
        )
    zone = zone_index(parts.zone) if parts.zone else 0
    return SocketAddr(parts.host, parts.port, zone)


def _why_not_ours(ip: str, *, has_zone: bool) -> str | None:
    """Returns why a machine cannot have this address, and what to do, or None where it can."""
    reason = None if ip in WILDCARDS else why_no_host(ip)
    if reason is not None:
        return f"{ip} is {reason}; {_GIVE_ANOTHER}"
    if ":" in ip and is_link_local(ip) and not has_zone:
        return zone_hint(ip)
    return None


def _is_broadcast(ip: str, interfaces: Iterable[InterfaceAddress]) -> bool:
    """True for the last address of a network of ours; RFC 3021 has none in one of two hosts."""
    own = [own for own in interfaces if ":" not in own.ip]
    if ":" in ip or any(ip == address.ip for address in own):
        return False
    wanted = ipaddress.IPv4Address(ip)
    networks = (
        ipaddress.IPv4Network((address.ip, address.prefix_length), strict=False)
        for address in own
        if address.prefix_length <= _MAX_PREFIX_WITH_BROADCAST
    )
    return any(wanted == network.broadcast_address for network in networks)


def _open(
    address: SocketAddr, ids: Iterator[SocketId], stack: ExitStack, *, is_listening: bool
) -> NodeSocket:
    sock = open_udp_socket(address, next(ids))
    stack.callback(sock.close)
    return NodeSocket(sock, sock.local, is_listening)


def _socket_ids() -> Iterator[SocketId]:
    return map(SocketId, count())


def _is_family_missing(failure: ListenError) -> bool:
    cause = failure.__cause__
    return isinstance(cause, OSError) and cause.errno in _NO_SUCH_FAMILY
