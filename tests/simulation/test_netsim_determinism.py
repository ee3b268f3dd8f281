"""The same seed gives the same bytes, whatever PYTHONHASHSEED says (specs/netsim.md)."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as presets
from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import Host, HostParams
from p2pnode.netsim.link import GilbertElliott, LinkParams
from p2pnode.netsim.topology import PairParams, SiteParams, pair
from tests.unit.netsim.machines import Sender, Ticker, echo

ROOT = Path(__file__).parents[2]

ROUGH = LinkParams(
    delay=0.02,
    jitter=0.01,
    loss=0.02,
    bursts=GilbertElliott.with_rate(0.02, 4),
    reordering=0.05,
    duplication=0.05,
    corruption=0.02,
    rate=2e6,
    queue=20_000,
    ecn_threshold=5_000,
)


def ticker(server: SocketAddr, host: Host) -> Ticker:
    return Ticker(host.bind(), server, 0.005, 700, host.now)


def scenario(seed: int) -> str:
    """Returns the digest of two seconds in a network that rolls every kind of dice."""
    nat = presets.cgnat()
    site = SiteParams(
        nat=presets.mobile(),
        hosts=2,
        ipv6=True,
        firewall=FirewallBehaviour(ip_version=6),
        access=ROUGH,
        host=HostParams(gro_segments=64, batch_window=0.001, clock_offset=1234.5),
    )
    net = pair(seed, PairParams(a=site, b=site, carrier_a=nat, public_hosts=2))
    servers = [echo(host) for host in net.public]
    for i, host in enumerate((*net.site_a.hosts, *net.site_b.hosts)):
        server = servers[i % 2]
        host.attach(partial(ticker, server))
    net.world.run_for(2)
    last = net.public[1]
    last.call(last.attach(lambda _: Sender()).send, last.bind(), servers[0], last.entropy(20))
    net.world.run_for(1)
    return net.world.trace.digest()


@pytest.mark.spec("NETSIM-1")
def test_two_processes_with_different_hash_seeds_give_the_same_digest() -> None:
    command = f"from {__name__} import scenario; print(scenario(7))"

    digests = [
        subprocess.run(
            [sys.executable, "-c", command],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "4242")
    ]

    assert digests[0] == digests[1] == scenario(7)
    assert len(digests[0]) == 64


@pytest.mark.spec("NETSIM-1")
def test_another_seed_gives_another_run() -> None:
    assert scenario(7) != scenario(8)
