"""What `p2pnode ping` says where the kernel knows at once that nothing gets through."""

import time
from pathlib import Path

import pytest

from tests.netns.program import ended
from tests.support.namespaces import Namespace, Network

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.usefixtures("undisturbed"),
]

SOON = 5.0
"""seconds that the command has in all, its own start included; a dial without an answer takes 10"""


async def complaint(place: Namespace, home: Path, address: str) -> str:
    """Returns what `ping` complains of, soon."""
    began = time.monotonic()
    done = await ended(place, home, "ping", "--count", "1", address)
    assert time.monotonic() - began < SOON
    assert done.code == 1
    return str(done.lines[-1]["error"])


@pytest.mark.spec("TRANSPORT-49")
@pytest.mark.parametrize(
    ("address", "ip"),
    [
        ("/ip4/10.9.9.9/udp/4001/noise", "10.9.9.9"),
        ("/ip6/2001:db8::9/udp/4001/noise", "2001:db8::9"),
    ],
)
async def test_no_route(network: Network, tmp_path: Path, address: str, ip: str) -> None:
    assert f"no route to {ip} from this machine" in await complaint(
        network.namespace("alone"), tmp_path, address
    )


@pytest.mark.spec("TRANSPORT-49")
async def test_packets_that_the_network_does_not_carry(network: Network, tmp_path: Path) -> None:
    place = network.namespace("narrow")
    place.ip("link", "set", "dev", "lo", "mtu", "1000")
    assert "this network does not carry packets of 1,228 bytes, which p2pnode needs" in (
        await complaint(place, tmp_path, "/ip4/127.0.0.1/udp/4001/noise")
    )


@pytest.mark.spec("TRANSPORT-49")
@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/udp/4001/noise", "/ip6/::1/udp/4001/noise"])
async def test_a_port_where_nothing_listens(network: Network, tmp_path: Path, address: str) -> None:
    ip = address.split("/")[2]
    assert f"port 4001 of {ip} is refused: nothing listens there" in (
        await complaint(network.namespace("empty"), tmp_path, address)
    )
