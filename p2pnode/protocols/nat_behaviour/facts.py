"""What a node knows of its own NAT, in the words of RFC 4787.  "Unknown" is an answer."""

import enum
from dataclasses import dataclass


class Dependence(enum.Enum):
    """How much of the remote address the mapping, or the filter, looks at."""

    UNKNOWN = "unknown"
    NONE = "none"
    """There is no NAT, or no filter."""
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    ENDPOINT_DEPENDENT = "endpoint-dependent"
    """One of the last two; nobody answered from two ports of one address, so it is open which."""

    @property
    def is_endpoint_dependent(self) -> bool:
        """True where other remotes get another mapping, or need a permission of their own."""
        return self in _DEPENDENT


_DEPENDENT = (
    Dependence.ADDRESS_DEPENDENT,
    Dependence.ADDRESS_AND_PORT_DEPENDENT,
    Dependence.ENDPOINT_DEPENDENT,
)


class PortAllocation(enum.Enum):
    """Which external port a new mapping gets."""

    UNKNOWN = "unknown"
    PRESERVING = "preserving"
    SEQUENTIAL = "sequential"
    BLOCK = "block"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class NatFacts:
    """What a node says of its own NAT.  From a peer it is hearsay: good for an explanation."""

    mapping: Dependence = Dependence.UNKNOWN
    filtering: Dependence = Dependence.UNKNOWN
    external_ips: tuple[str, ...] = ()
    """Where peers see it; no ports."""
    is_udp_blocked: bool = False
    """Another transport reaches its peers, and UDP does not."""
    observers: int = 0
    """Peers that the mapping was learned from."""
    probes: int = 0
    """Peers, or strangers they sent, whose knocks the filtering was learned from."""
    alternate_port_v4: int | None = None
    """The other port that it answers on, under an identity that it throws away."""
    alternate_port_v6: int | None = None

    def alternate_port(self, *, ipv6: bool) -> int | None:
        """Returns the other port for one IP version."""
        return self.alternate_port_v6 if ipv6 else self.alternate_port_v4


UNKNOWN_FACTS = NatFacts()
