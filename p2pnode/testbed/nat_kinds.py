"""The kinds of NAT that a site may have, by name, and what each is in the words of RFC 4787.

`mapping` and `filtering` are what a host behind it finds when it asks others (None: nothing is
translated, nothing is dropped); tests/netns/test_testbed.py proves each of them with plain sockets.
"""

from dataclasses import dataclass

from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.testbed.router_rules import Inbound, RouterRules, Translation

_INDEPENDENT = Dependence.ENDPOINT_INDEPENDENT
_ADDRESS = Dependence.ADDRESS_DEPENDENT
_ADDRESS_PORT = Dependence.ADDRESS_AND_PORT_DEPENDENT


@dataclass(frozen=True, slots=True)
class NatKind:
    """What stands between a host and the Internet."""

    name: str
    meaning: str
    """For people: what it is in a few words."""
    routers: tuple[RouterRules, ...]
    """From the host outwards."""
    mapping: Dependence | None
    filtering: Dependence | None
    udp: bool = True
    """Whether UDP gets through at all; where not, the two above are those that it would find."""

    @property
    def is_translated(self) -> bool:
        return self.mapping is not None


_HOME = RouterRules()
_RANDOM = RouterRules(Translation.RANDOM_PORT)

NONE = NatKind("none", "a public host", (), None, None)

PORT_FORWARD = NatKind(
    "port-forward",
    "a home router that passes everything on to the first host",
    (RouterRules(inbound=Inbound.FORWARDED),),
    _INDEPENDENT,
    _INDEPENDENT,
)
FULL_CONE = NatKind(
    "full-cone",
    "anybody may send to a port that is open",
    (RouterRules(inbound=Inbound.OPEN_PORTS),),
    _INDEPENDENT,
    _INDEPENDENT,
)
ADDRESS_RESTRICTED = NatKind(
    "address-restricted",
    "anybody at an address that was contacted may send",
    (RouterRules(inbound=Inbound.KNOWN_ADDRESSES),),
    _INDEPENDENT,
    _ADDRESS,
)
PORT_RESTRICTED = NatKind(
    "port-restricted", "the usual home router", (_HOME,), _INDEPENDENT, _ADDRESS_PORT
)
LEAKY = NatKind(
    "leaky",
    "a home router without a filter: strangers who come too early spoil the port",
    (RouterRules(inbound=Inbound.ROUTER),),
    _INDEPENDENT,
    _ADDRESS_PORT,
)
SYMMETRIC = NatKind(
    "symmetric", "another random port for each remote", (_RANDOM,), _ADDRESS_PORT, _ADDRESS_PORT
)
FIREWALL = NatKind(
    "firewall",
    "a public address behind a stateful firewall",
    (RouterRules(Translation.NONE),),
    None,
    _ADDRESS_PORT,
)
DOUBLE = NatKind(
    "double", "a home router behind a carrier's", (_HOME, _HOME), _INDEPENDENT, _ADDRESS_PORT
)
SYMMETRIC_DOUBLE = NatKind(
    "symmetric-double",
    "a home router behind a symmetric carrier",
    (_HOME, _RANDOM),
    _ADDRESS_PORT,
    _ADDRESS_PORT,
)
UDP_BLOCKED = NatKind(
    "udp-blocked",
    "a home router that drops all UDP",
    (RouterRules(udp=False),),
    _INDEPENDENT,
    _ADDRESS_PORT,
    udp=False,
)

KINDS = {
    kind.name: kind
    for kind in (
        NONE,
        PORT_FORWARD,
        FULL_CONE,
        ADDRESS_RESTRICTED,
        PORT_RESTRICTED,
        LEAKY,
        SYMMETRIC,
        FIREWALL,
        DOUBLE,
        SYMMETRIC_DOUBLE,
        UDP_BLOCKED,
    )
}
