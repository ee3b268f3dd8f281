"""Which addresses are worth telling to whom, and worth believing from whom (specs/identify.md).

Rules, go-libp2p's: what cannot work from where the other side is, is neither sent nor kept.  A
relayed address is judged by its relay; the peer at the far end of a circuit counts as public.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from p2pnode.wire.ip_ranges import IpScope, ip_scope, why_no_host
from p2pnode.wire.multiaddr import Code, Multiaddr, components, multiaddr_scope, without_zone
from p2pnode.wire.transport_name import TransportName

MAX_OWN_ADDRS_SIZE = 4 * 1024  # bytes of addresses in a message of ours; go-libp2p
MAX_OWN_ADDRS = 32  # addresses in a message of ours; chosen: what a dial tries, and a book keeps

_SCOPE_ORDER = (IpScope.PUBLIC, IpScope.PRIVATE, IpScope.LOOPBACK)


def addrs_to_send(addrs: Iterable[Multiaddr], remote_ip: str | None) -> tuple[Multiaddr, ...]:
    """Returns what of our own addresses to tell a peer at `remote_ip` (None: behind a relay).

    Loopback addresses stay on this machine, zones too; addresses that the Internet does not route
    (documentation and benchmark ranges, as in labs) are told to who is reached at one itself.  The
    rest is put in order of use and cut to MAX_OWN_ADDRS and MAX_OWN_ADDRS_SIZE.
    """
    remote_scope = _remote_scope(remote_ip)
    useful = {IpScope.PUBLIC, IpScope.PRIVATE, remote_scope}
    told = (without_zone(addr) for addr in addrs if multiaddr_scope(addr) in useful)
    return trim_addrs(tuple(dict.fromkeys(told)))


def addrs_to_accept(addrs: Iterable[Multiaddr], remote_ip: str | None) -> tuple[Multiaddr, ...]:
    """Returns which addresses to believe of a peer at `remote_ip` (None: behind a relay).

    From this machine all, from a private network all but loopback, from elsewhere public ones; and
    from an address that the Internet does not route, those of its kind as well.
    """
    match _remote_scope(remote_ip):
        case IpScope.LOOPBACK:
            accepted: Sequence[IpScope] = _SCOPE_ORDER
        case IpScope.PRIVATE:
            accepted = (IpScope.PUBLIC, IpScope.PRIVATE)
        case IpScope.UNROUTABLE:
            accepted = (IpScope.PUBLIC, IpScope.UNROUTABLE)
        case IpScope.PUBLIC:
            accepted = (IpScope.PUBLIC,)
    kept = (
        without_zone(addr)
        for addr in addrs
        if multiaddr_scope(addr) in accepted and not _is_no_host(addr)
    )
    return tuple(dict.fromkeys(kept))


def trim_addrs(
    addrs: Sequence[Multiaddr], max_size: int = MAX_OWN_ADDRS_SIZE
) -> tuple[Multiaddr, ...]:
    """Returns the best addresses first, MAX_OWN_ADDRS at most and what fits in `max_size` bytes."""
    kept: list[Multiaddr] = []
    size = 0
    for addr in sorted(addrs, key=_rank)[:MAX_OWN_ADDRS]:
        size += len(addr.to_bytes()) + 3  # protobuf tag and length
        if size > max_size:
            break
        kept.append(addr)
    return tuple(kept)


def _rank(addr: Multiaddr) -> tuple[int, int]:
    scope = multiaddr_scope(addr)
    codes = [code for code, _ in components(addr)]
    by_transport = len(TransportName)
    for rank, transport in enumerate(TransportName):
        if transport.codes[-1] in codes:
            by_transport = rank
            break
    by_scope = _SCOPE_ORDER.index(scope) if scope in _SCOPE_ORDER else len(_SCOPE_ORDER)
    return by_scope, by_transport


def _is_no_host(addr: Multiaddr) -> bool:
    """True where the first hop is a group, everybody or nobody: packets there reach no peer."""
    hosts = (part.value for part in components(addr) if part.code in (Code.IP4, Code.IP6))
    host = next(hosts, None)
    return host is not None and why_no_host(str(ipaddress.ip_address(host))) is not None


def _remote_scope(remote_ip: str | None) -> IpScope:
    return IpScope.PUBLIC if remote_ip is None else ip_scope(remote_ip)
