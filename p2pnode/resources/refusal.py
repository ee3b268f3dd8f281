"""What is shared, by whom, and how a refusal says what was full (RESOURCES-5)."""

import enum
from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

from p2pnode.resources.networks import Networks


class Resource(enum.Enum):
    """What is shared; the values are for people."""

    CONNECTIONS = "connections"
    HALF_OPEN = "half-open handshakes"
    STREAMS = "streams"
    MEMORY = "bytes of memory"
    RESERVATIONS = "reservations"
    CIRCUITS = "circuits"


class ScopeKind(enum.Enum):
    """What is counted together; the values are for people."""

    PROCESS = "this node"
    DIRECTION = "what others begin"
    NETWORK = "network"
    PEER = "peer"
    PROTOCOL = "protocol"


class Holder(NamedTuple):
    """For whom something is held."""

    networks: Networks = ()
    """Of its address; none for what counts for no network."""
    peers: tuple[Hashable, ...] = ()
    """Ids, where they are known."""
    is_local: bool = False
    """It is in a network of this machine's own."""
    is_own: bool = False
    """This node has begun it, and it may have the reserve."""
    is_protected: bool = False
    """It may have what the reserve holds for peers that this node knows it wants."""


class Refusal(NamedTuple):
    """There is no more, and of what."""

    resource: Resource
    scope: ScopeKind
    name: str
    """A network, a peer id, a protocol; empty where there is but one."""
    limit: int

    def __str__(self) -> str:
        whose = f"{self.scope.value} {self.name}".strip()
        return f"no more than {self.limit} {self.resource.value} for {whose}"


class Refusals:
    """What was refused since the start, and what nobody has been told yet."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Resource, ScopeKind]] = Counter()
        self.news: dict[tuple[Resource, ScopeKind], Refusal] = {}
        """The last one of each kind that `take_news` has not returned yet."""

    def note(self, refusal: Refusal) -> None:
        kind = refusal.resource, refusal.scope
        self.counts[kind] += 1
        self.news[kind] = refusal

    def take_news(self) -> list[tuple[Refusal, int]]:
        """Returns the last refusal of each kind since the last call, and how many in all."""
        news, self.news = self.news, {}
        return [(refusal, self.counts[kind]) for kind, refusal in news.items()]
