"""The program as people run it, between hosts whose network is the kernel's."""

import hashlib
import random
from pathlib import Path

import pytest
import trio

from tests.netns.places import (
    FAR_IP,
    FIRST_PORTS,
    NARROW_MTU,
    NEXT_IP,
    OTHER_IP,
    OTHER_IP6,
    PUBLIC_IP,
    PUBLIC_IP6,
    SECOND_PORTS,
    change_address,
    make_narrow_path,
    make_nat,
    make_pair,
)
from tests.netns.program import ANSWER_TIMEOUT, Running, address_at, finished, running
from tests.support.namespaces import Network

pytestmark = [pytest.mark.netns, pytest.mark.slow]

MIB = 2**20
SHAPED_MEGABITS = 40
"""so that a file of some MiB takes seconds, and there is a middle of it"""
RECOVERY_TIMEOUT = 8.0
"""seconds; well under the idle timeout of 30 s, which a peer without resets would have to wait"""
MOVE_TIMEOUT = 15.0
"""seconds from a new address to the end of the transfer, which takes two of them undisturbed"""


def make_file(path: Path, size: int) -> str:
    """Writes what no compression or accident makes right; returns its SHA-256 in hex."""
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def port_of(multiaddr: str) -> int:
    return int(multiaddr.split("/")[4])


def pongs(lines: list[dict[str, object]]) -> list[float]:
    return [float(str(line["rtt_ms"])) for line in lines if line.get("rtt_ms") is not None]


@pytest.mark.parametrize(
    ("public_ip", "other_ip"), [(PUBLIC_IP, OTHER_IP), (PUBLIC_IP6, OTHER_IP6)], ids=["ip4", "ip6"]
)
async def test_a_peer_is_pinged_identified_and_sent_a_file(
    network: Network, tmp_path: Path, public_ip: str, other_ip: str
) -> None:
    pair = make_pair(network)
    sha256 = make_file(tmp_path / "file", 20 * MIB)
    (tmp_path / "in").mkdir()
    home = tmp_path / "other"

    async with running(pair.public, tmp_path / "public", "run") as node:
        started = await node.event("started")
        address = address_at(started, public_ip)
        pings = await finished(pair.other, home, "ping", address, "-c", "3", "--interval", "0.01")
        (info,) = await finished(pair.other, home, "identify", address)

    assert [line["seq"] for line in pings] == [1, 2, 3]
    assert len(pongs(pings)) == 3
    assert {line["path"] for line in pings} == {"direct"}
    assert info["peer_id"] == started["peer_id"]
    assert info["observed_addr"].split("/")[2] == other_ip
    assert info["listen_addrs"] == []  # no stranger has been seen to reach it

    async with running(
        pair.public, tmp_path / "public", "receive", str(tmp_path / "in"), "--once"
    ) as receiver:
        address = address_at(await receiver.event("listening"), public_ip)
        (sent,) = await finished(pair.other, home, "send", str(tmp_path / "file"), address)
        received = await receiver.event("received")
        assert await receiver.exit_code() == 0

    assert sha256 == sent["sha256"] == received["sha256"] == sha256_of(received["file"])
    assert sent["bytes"] == received["bytes"] == 20 * MIB


async def test_a_peer_behind_a_nat_learns_the_address_that_others_see(
    network: Network, tmp_path: Path
) -> None:
    nat = make_nat(network, megabits=SHAPED_MEGABITS)

    async with running(nat.public, tmp_path / "public", "run") as node:
        address = address_at(await node.event("started"), PUBLIC_IP)
        pings = await finished(nat.inside, tmp_path / "inside", "ping", address, "-c", "1")
        (info,) = await finished(nat.inside, tmp_path / "inside", "identify", address)

    assert len(pongs(pings)) == 1
    assert info["observed_addr"].split("/")[2] == OTHER_IP
    assert port_of(info["observed_addr"]) in FIRST_PORTS


async def test_a_transfer_goes_on_when_the_nat_forgets_its_mappings(
    network: Network, tmp_path: Path
) -> None:
    nat = make_nat(network, megabits=SHAPED_MEGABITS)
    sha256 = make_file(tmp_path / "file", 12 * MIB)
    (tmp_path / "in").mkdir()

    async with running(
        nat.public, tmp_path / "public", "receive", str(tmp_path / "in"), "--once"
    ) as receiver:
        address = address_at(await receiver.event("listening"), PUBLIC_IP)
        async with trio.open_nursery() as nursery:
            file = str(tmp_path / "file")
            nursery.start_soon(finished, nat.inside, tmp_path / "inside", "send", file, address)
            with trio.fail_after(ANSWER_TIMEOUT):
                while nat.bytes_sent() < 3 * MIB:  # noqa: ASYNC110 - the kernel tells nobody
                    await trio.sleep(0.02)
            nat.translate(SECOND_PORTS)
            nat.forget()
            received = await receiver.event("received")

    assert sha256 == received["sha256"] == sha256_of(received["file"])
    assert port_of(received["via"]) in SECOND_PORTS


@pytest.mark.parametrize("mover", ["sender", "receiver"])
async def test_a_transfer_goes_on_when_a_host_changes_its_address(
    network: Network, tmp_path: Path, mover: str
) -> None:
    pair = make_pair(network)
    pair.slow_down(SHAPED_MEGABITS)
    sha256 = make_file(tmp_path / "file", 12 * MIB)
    (tmp_path / "in").mkdir()

    async with running(
        pair.public, tmp_path / "public", "receive", str(tmp_path / "in"), "--once"
    ) as receiver:
        address = address_at(await receiver.event("listening"), PUBLIC_IP)
        sending = ("send", str(tmp_path / "file"), address)
        async with running(pair.other, tmp_path / "other", *sending) as sender:
            with trio.fail_after(ANSWER_TIMEOUT):
                while pair.bytes_sent() < 3 * MIB:  # noqa: ASYNC110 - the kernel tells nobody
                    await trio.sleep(0.02)
            if mover == "sender":
                change_address(pair.other, OTHER_IP, NEXT_IP)
            else:
                change_address(pair.public, PUBLIC_IP, NEXT_IP)
            with trio.fail_after(MOVE_TIMEOUT):
                received = await receiver.event("received")
                sent = await sender.event("sent")

    assert sha256 == sent["sha256"] == received["sha256"] == sha256_of(received["file"])
    moved = received if mover == "sender" else sent
    assert moved["via"].split("/")[2] == NEXT_IP


async def test_a_path_narrower_than_the_hosts_links_carries_a_file_though_no_router_says_so(
    network: Network, tmp_path: Path
) -> None:
    narrow = make_narrow_path(network)
    sha256 = make_file(tmp_path / "file", 8 * MIB)
    (tmp_path / "in").mkdir()

    async with running(
        narrow.other, tmp_path / "other", "receive", str(tmp_path / "in"), "--once"
    ) as receiver:
        address = address_at(await receiver.event("listening"), FAR_IP)
        await finished(narrow.public, tmp_path / "public", "send", str(tmp_path / "file"), address)
        received = await receiver.event("received")

    assert sha256 == received["sha256"] == sha256_of(received["file"])
    assert narrow.too_big() > 0
    assert 0.9 * NARROW_MTU < narrow.mean_size() <= NARROW_MTU


async def test_a_peer_that_was_killed_and_came_back_is_found_again_at_once(
    network: Network, tmp_path: Path
) -> None:
    pair = make_pair(network)

    async with running(pair.public, tmp_path / "public", "run") as node:
        before = await node.event("started")
        address = address_at(before, PUBLIC_IP)
        pinging = ("ping", address, "--interval", "0.1")
        async with running(pair.other, tmp_path / "other", *pinging) as client:
            await next_pong(client)
            await node.kill()
            async with running(pair.public, tmp_path / "public", "run") as restarted:
                after = await restarted.event("started")
                with trio.fail_after(RECOVERY_TIMEOUT):
                    connected = await restarted.event("connected")
                    await next_pong(client)

    assert after["peer_id"] == before["peer_id"]
    assert after["addresses"] == before["addresses"]
    assert connected["direction"] == "inbound"
    assert any("forgotten" in str(line.get("lost")) for line in client.lines)


async def next_pong(client: Running) -> None:
    while (await client.line()).get("rtt_ms") is None:
        pass
