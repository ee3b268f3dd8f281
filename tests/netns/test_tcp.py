"""The program over TCP, as the kernel has it: where UDP is blocked, and on its own ports."""

import time
from pathlib import Path

import pytest
import trio

from tests.netns.places import OTHER_IP, PUBLIC_IP, make_pair
from tests.netns.program import Line, address_at, ended, finished, running
from tests.support.namespaces import Namespace, Network

pytestmark = [pytest.mark.netns, pytest.mark.slow]

SOON = 6.0
"""seconds that a command has in all, its own start included; a dial without an answer takes 10"""
SILENCE_PATIENCE = 15.0
"""seconds until a node says that nothing is heard over UDP; it waits for five"""

BLOCK_UDP = """
    table inet filter {
        chain output { type filter hook output priority filter; meta l4proto udp drop; }
        chain input { type filter hook input priority filter; meta l4proto udp drop; }
    }"""
DROP_TCP = """
    table inet filter {
        chain input { type filter hook input priority filter; meta l4proto tcp drop; }
    }"""


async def status_of(place: Namespace, home: Path) -> Line:
    (status,) = await finished(place, home, "status")
    return status


async def silence_of(place: Namespace, home: Path) -> Line:
    """Returns the status of a node once it has found out about UDP."""
    with trio.fail_after(SILENCE_PATIENCE):
        while True:
            status = await status_of(place, home)
            if status["silence"] is not None:
                return status
            await trio.sleep(0.5)


def tcp_port(address: str) -> int:
    return int(address.split("/tcp/")[1].split("/")[0])


async def test_where_udp_is_blocked_tcp_carries_everything_and_it_is_said(
    network: Network, tmp_path: Path
) -> None:
    pair = make_pair(network)
    pair.other.set_rules(BLOCK_UDP)
    home = tmp_path / "other"
    async with running(pair.public, tmp_path / "public", "run") as public:
        started = await public.event("started")
        both = [address_at(started, PUBLIC_IP, transport=each) for each in ("noise", "tcp")]
        bootstrap = [word for address in both for word in ("--bootstrap", address)]
        (pong,) = await finished(pair.other, home, "ping", both[1], "-c", "1")
        assert (pong["path"], pong["transport"], pong["limited"]) == ("direct", "tcp", False)
        (pong,) = await finished(
            pair.other, home, "ping", started["peer_id"], *bootstrap, "-c", "1"
        )
        assert pong["transport"] == "tcp"

        async with running(pair.other, home, "run", *bootstrap) as other:
            connected = await other.event("connected")
            assert (connected["transport"], connected["via"]) == ("tcp", without_peer(both[1]))
            status = await silence_of(pair.other, home)
            assert [c["transport"] for c in status["connections"]] == ["tcp"]
            said = "UDP seems to be blocked: the one host that was tried answers over TCP alone"
            assert status["silence"].startswith(said)
            (why,) = await finished(pair.other, home, "why", started["peer_id"])
            assert (why["path"], why["transport"]) == ("direct", "tcp")
            assert why["verdict"].startswith("direct over TCP: UDP seems to be blocked")
            (found,) = await finished(pair.other, home, "netcheck")
            assert (found["udp"], found["tcp"]) == (False, True)
            assert found["unknown"]["udp"].startswith(said)
        assert (await status_of(pair.public, tmp_path / "public"))["silence"] is None


def without_peer(address: str) -> str:
    return address.partition("/p2p/")[0]


@pytest.mark.spec("LINK-9", "LINK-10")
async def test_connections_leave_from_the_port_that_a_node_listens_on(
    network: Network, tmp_path: Path
) -> None:
    pair = make_pair(network)
    async with running(pair.public, tmp_path / "public", "run") as public:
        at_public = address_at(await public.event("started"), PUBLIC_IP, transport="tcp")
        async with running(
            pair.other, tmp_path / "other", "run", "--bootstrap", at_public
        ) as other:
            at_other = address_at(await other.event("started"), OTHER_IP, transport="tcp")
            seen = await public.event("connected")
            assert (seen["direction"], seen["transport"]) == ("inbound", "tcp")
            assert seen["via"] == without_peer(at_other)


@pytest.mark.spec("LINK-9", "LINK-10")
async def test_who_was_killed_comes_back_on_the_same_ports_though_links_were_open(
    network: Network, tmp_path: Path
) -> None:
    pair = make_pair(network)
    async with running(pair.public, tmp_path / "public", "run") as public:
        before = await public.event("started")
        bootstrap = "--bootstrap", address_at(before, PUBLIC_IP, transport="tcp")
        async with running(pair.other, tmp_path / "other", "run", *bootstrap) as other:
            await other.event("connected")
            await public.kill()
            async with running(pair.public, tmp_path / "public", "run") as again:
                after = await again.event("started")
                assert after["addresses"] == before["addresses"]
                lost = await other.event("disconnected")
                assert lost["peer"] == before["peer_id"]
                assert (await other.event("connected"))["transport"] == "tcp"


async def test_ctrl_c_takes_leave_over_tcp_as_well(network: Network, tmp_path: Path) -> None:
    pair = make_pair(network)
    async with running(pair.public, tmp_path / "public", "run") as public:
        bootstrap = (
            "--bootstrap",
            address_at(await public.event("started"), PUBLIC_IP, transport="tcp"),
        )
        async with running(pair.other, tmp_path / "other", "run", *bootstrap) as other:
            await public.event("connected")
            other.interrupt()
            assert await other.exit_code() == 0
            lost = await public.event("disconnected")
    assert "reset" not in lost["reason"], lost


@pytest.mark.spec("LINK-10")
async def test_where_another_program_has_the_tcp_port_udp_goes_on(
    network: Network, tmp_path: Path
) -> None:
    pair, home = make_pair(network), tmp_path / "public"
    async with running(pair.public, home, "run") as node:
        first = await node.event("started")
        at_udp, at_tcp = (address_at(first, PUBLIC_IP, transport=t) for t in ("noise", "tcp"))
    async with running(
        pair.public, tmp_path / "squatter", "run", "--listen", without_peer(at_tcp)
    ) as squatter:
        await squatter.event("started")
        async with running(pair.public, home, "run") as node:
            second = await node.event("started")
            elsewhere = address_at(second, PUBLIC_IP, transport="tcp")
            assert address_at(second, PUBLIC_IP) == at_udp
            assert tcp_port(elsewhere) != tcp_port(at_tcp)
    async with running(pair.public, home, "run") as node:
        assert (await node.event("started"))["addresses"] == second["addresses"]
        for address in (at_udp, elsewhere):
            (pong,) = await finished(pair.other, tmp_path / "other", "ping", address, "-c", "1")
            assert pong["peer"] == first["peer_id"]


async def complaint(place: Namespace, home: Path, address: str) -> tuple[str, float]:
    """Returns what `ping` complains of, and how long that takes."""
    began = time.monotonic()
    done = await ended(place, home, "ping", "--count", "1", address)
    assert done.code != 0
    said = done.lines[-1]["error"] if done.lines else done.complaint
    return str(said), time.monotonic() - began


async def test_what_is_in_the_way_of_a_link_is_one_sentence(
    network: Network, tmp_path: Path
) -> None:
    pair, home = make_pair(network), tmp_path / "other"
    said, took = await complaint(pair.other, home, f"/ip4/{PUBLIC_IP}/tcp/9")
    assert f"TCP port 9 of {PUBLIC_IP} is refused: nothing listens there" in said
    assert took < SOON
    said, took = await complaint(pair.other, home, "/ip4/10.9.9.9/tcp/4001")
    assert "no route to 10.9.9.9" in said
    assert took < SOON
    said, took = await complaint(pair.other, home, f"/ip4/{PUBLIC_IP}/tcp/0")
    assert "no peer has port 0; give the peer's own" in said
    assert took < SOON
    pair.public.set_rules(DROP_TCP)
    said, _ = await complaint(pair.other, home, f"/ip4/{PUBLIC_IP}/tcp/4001")
    assert "no answer" in said
    assert "TCP" in said


@pytest.mark.spec("SWARM-36")
async def test_a_node_does_not_connect_with_itself(network: Network, tmp_path: Path) -> None:
    """The kernel would: from a port to the same port is a connection of TCP with itself."""
    own = f"/ip4/{PUBLIC_IP}/tcp/4001"
    listen = "--listen", "/ip4/0.0.0.0/tcp/4001"
    async with running(
        make_pair(network).public, tmp_path, "run", *listen, "--bootstrap", own
    ) as node:
        failed = await node.event("dial_failed")
        assert "that is an address of this node itself" in failed["reason"]
