"""A bed for tests: sites with real kernel NATs around an Internet with delay, on one machine.

    with TestBed() as bed:
        relay = bed.add_site("relay")
        laptop = bed.add_site("laptop", FULL_CONE)
        process = laptop.host.popen("p2pnode", "run")

Public addresses are globally routable ones, for nodes rightly refuse to believe others; they exist
in our namespaces only.  Every site's LAN is 192.168.1.0/24, as at home.

Rule: what was made is gone afterwards, with the processes in it, also after a failure.
"""

from types import MappingProxyType
from typing import ClassVar, Self

from p2pnode.testbed.access import CORE_HOPS, AccessLink
from p2pnode.testbed.addresses import AddressPlan
from p2pnode.testbed.internet import Internet
from p2pnode.testbed.namespaces import BedError, Namespace, close_all
from p2pnode.testbed.nat_kinds import NONE, NatKind
from p2pnode.testbed.site import Site, SiteParams


class TestBed:
    """The sites of one run and what is between them; a context manager."""

    __test__: ClassVar = False
    """pytest takes classes of such a name for collections of tests."""

    def __init__(
        self, *, hops: int = CORE_HOPS, time_exceeded: bool = False, seed: int | str = 0
    ) -> None:
        """Makes an empty Internet: `hops` that it costs, whether it tells senders of packets that
        died on the way, and the seed for losses.  Raises BedError."""
        self._namespaces: list[Namespace] = []
        self._sites: dict[str, Site] = {}
        self.sites = MappingProxyType(self._sites)
        self._plan = AddressPlan()
        self._internet = Internet(hops=hops, time_exceeded=time_exceeded, seed=seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_site(
        self,
        name: str,
        kind: NatKind = NONE,
        *,
        hosts: int = 1,
        access: AccessLink | None = None,
        ipv6: bool = False,
        lifetime: int | None = None,
    ) -> Site:
        """Makes a site and joins it to the Internet.  Raises BedError.

        With `ipv6`, every host also has a global IPv6 address, which is filtered but not
        translated.  `lifetime` is that of UDP mappings in seconds, instead of the kernel's own.
        """
        if name in self._sites:
            raise BedError(f"there is a site {name} already")
        params = SiteParams(
            name, kind, hosts, AccessLink() if access is None else access, ipv6, lifetime
        )
        site = Site(params, self._plan, self._internet, self._new_namespace)
        self._sites[name] = site
        return site

    def set_delay(self, one: Site, other: Site, delay: float | None) -> None:
        """Sets the seconds one way between two sites; None for those of their access lines."""
        self._internet.set_delay(one.name, other.name, delay)

    def close(self) -> None:
        """Kills what runs in the bed and removes it.  May be called again."""
        try:
            close_all(self._namespaces)
            self._namespaces.clear()
        finally:
            self._internet.close()

    def _new_namespace(self, role: str) -> Namespace:
        namespace = Namespace(role)
        self._namespaces.append(namespace)
        return namespace
