"""Who is here from which network, and which network has sent the most."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from p2pnode.resources.networks import Network, Networks

MemberT = TypeVar("MemberT", bound=Hashable)


class Crowd(Generic[MemberT]):
    """Counts members by all their networks; no call but `of_fullest` grows with what is held.

    The fullest network is looked for among the largest ones, so that nobody hides in many small.
    """

    __slots__ = ("_by_count", "_counts", "_members", "_most", "_networks_of")

    def __init__(self) -> None:
        self._networks_of: dict[MemberT, Networks] = {}
        self._counts: dict[Network, int] = {}
        self._members: dict[Network, dict[MemberT, None]] = {}
        self._by_count: dict[int, dict[Network, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._networks_of)

    def __contains__(self, member: MemberT) -> bool:
        return member in self._networks_of

    def count(self, network: Network) -> int:
        """Returns how many members a network of any size has."""
        return self._counts.get(network, 0)

    @property
    def most(self) -> int:
        """How many members the fullest network has."""
        return self._most

    def add(self, member: MemberT, networks: Networks) -> None:
        """Takes a member that is not here yet."""
        assert member not in self._networks_of
        self._networks_of[member] = networks
        for network in networks:
            self._counts[network] = self._counts.get(network, 0) + 1
        largest = networks[-1]
        members = self._members.setdefault(largest, {})
        self._move(largest, len(members), len(members) + 1)
        members[member] = None

    def remove(self, member: MemberT) -> None:
        """Lets a member go; does nothing for one that is not here."""
        networks = self._networks_of.pop(member, None)
        if networks is None:
            return
        for network in networks:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]
        largest = networks[-1]
        members = self._members[largest]
        self._move(largest, len(members), len(members) - 1)
        del members[member]
        if not members:
            del self._members[largest]

    def of_fullest(self) -> Iterator[MemberT]:
        """Yields the members of the fullest network, the newest first."""
        if not self._most:
            return
        network = next(iter(self._by_count[self._most]))
        yield from reversed(list(self._members[network]))

    def _move(self, network: Network, before: int, after: int) -> None:
        if before:
            level = self._by_count[before]
            del level[network]
            if not level:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[network] = None
        if after > self._most:
            self._most = after
        elif before == self._most and before not in self._by_count:
            self._most = after  # nothing lies between: it was the only one up there
