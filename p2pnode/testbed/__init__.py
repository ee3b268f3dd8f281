"""Real networks on one machine: kernel NATs in network namespaces, and an Internet with delay.

Reading order: namespaces, rights, tun; router_rules, nat_kinds; addresses, site, testbed; and the
Internet, which is a process of its own: access, packets, core, forwarder, internet.

    reason = gain_rights()      # once, before any thread; a sentence where it is impossible
    with TestBed() as bed:
        site = bed.add_site("laptop", nat_kinds.FULL_CONE)
        site.host.popen("p2pnode", "run")
"""

from p2pnode.testbed.access import AccessLink, Traffic
from p2pnode.testbed.namespaces import BedError, Namespace
from p2pnode.testbed.nat_kinds import KINDS, NatKind
from p2pnode.testbed.rights import gain_rights, missing_rights, shell_prefix
from p2pnode.testbed.site import Site
from p2pnode.testbed.testbed import TestBed

__all__ = [
    "KINDS",
    "AccessLink",
    "BedError",
    "Namespace",
    "NatKind",
    "Site",
    "TestBed",
    "Traffic",
    "gain_rights",
    "missing_rights",
    "shell_prefix",
]
