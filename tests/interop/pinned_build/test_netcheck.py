"""What a host learns of its NAT from public peers of the other build."""

from pathlib import Path

import pytest

from p2pnode.testbed import TestBed
from p2pnode.testbed.nat_kinds import SYMMETRIC
from tests.netns.program import THIS_BUILD, Build, finished
from tests.netns.traversal import public_peers

pytestmark = [pytest.mark.netns, pytest.mark.slow]


@pytest.mark.parametrize("pinned_asks", [True, False], ids=["pinned asks", "new asks"])
async def test_a_nat_is_measured_by_peers_of_the_other_build(
    bed: TestBed, tmp_path: Path, pinned: Build, pinned_asks: bool
) -> None:
    asking, asked = (pinned, THIS_BUILD) if pinned_asks else (THIS_BUILD, pinned)
    site = bed.add_site("asking", SYMMETRIC)
    async with public_peers(bed, tmp_path, build=asked) as bootstrap:
        netcheck = ("netcheck", *bootstrap)
        (found,) = await finished(site.host, tmp_path / "asking", *netcheck, build=asking)

    assert found["mapping"] == found["filtering"] == "address-and-port-dependent"
    assert found["port_allocation"] == "random"
    assert (found["udp"], found["hairpin"], found["reachability"]) == (True, False, "private")
    assert {address.split("/")[2] for address in found["external"]} == {site.public_ip}
    # All else was measured: the answers of all three were understood.
    assert list(found["unknown"]) == ["binding_lifetime_s"]
