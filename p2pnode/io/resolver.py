"""/dns, /dns4 and /dns6 addresses: names into IP addresses, by the system's resolver.

Rule: an answer is bounded in time and number, and a name without one is one sentence.  A name that
somebody else chose may lead anywhere, also into our own network: whoever resolves a peer's address
judges the results by their scope (`p2pnode.wire.ip_ranges`) before dialling them.
"""

import ipaddress
import socket

import trio

from p2pnode.errors import AddressError
from p2pnode.wire.ip_ranges import why_no_host
from p2pnode.wire.multiaddr import Code, Component, Multiaddr, components, join_components

RESOLVE_TIMEOUT = 5.0
"""seconds; chosen: resolv.conf's default for one server, and a dial has other addresses to try"""

MAX_RESULTS = 8
"""addresses of a name; chosen: more than a dial can try in its time"""

_FAMILIES: dict[int, int] = {
    Code.DNS: socket.AF_UNSPEC,
    Code.DNS4: socket.AF_INET,
    Code.DNS6: socket.AF_INET6,
}


def needs_resolving(address: Multiaddr) -> bool:
    """True for an address that begins with a name."""
    parts = components(address)
    return bool(parts) and (parts[0].code in _FAMILIES or parts[0].code == Code.DNSADDR)


async def resolve(address: Multiaddr) -> list[Multiaddr]:
    """Returns the addresses that a name stands for, in the system's order of preference.

    An address without a name is returned as it is.  Only the first hop is resolved: what is behind
    a relay is the relay's to know.  Raises AddressError.  Cancel-safe.
    """
    first, *rest = components(address)
    if first.code == Code.DNSADDR:
        raise AddressError(f"{address}: /dnsaddr names are not supported, use /dns4 or /dns6")
    family = _FAMILIES.get(first.code)
    if family is None:
        return [address]
    return [join_components([host, *rest]) for host in await _look_up(first.value.decode(), family)]


async def _look_up(name: str, family: int) -> list[Component]:
    try:
        with trio.fail_after(RESOLVE_TIMEOUT):
            found = await trio.socket.getaddrinfo(
                name, None, family=family, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
            )
    except trio.TooSlowError:
        raise AddressError(
            f"looking up {name!r} took longer than {RESOLVE_TIMEOUT:.0f} seconds"
        ) from None
    except (OSError, UnicodeError) as exc:  # UnicodeError: not a name that DNS can hold
        raise AddressError(f"cannot look up {name!r}: {_reason(exc)}") from exc
    hosts: dict[Component, None] = {}
    unusable = ""
    for *_, sockaddr in found:
        ip = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        if (reason := why_no_host(str(ip))) is not None:
            unusable = f"{name!r} stands for {ip}, which is {reason}; is the name blocked here?"
            continue
        hosts[Component(Code.IP4 if ip.version == 4 else Code.IP6, ip.packed)] = None
    if not hosts:
        raise AddressError(unusable or f"{name!r} has no address of that kind")
    return list(hosts)[:MAX_RESULTS]


def _reason(exc: OSError | UnicodeError) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or str(exc)
    return "it is not a valid name"
