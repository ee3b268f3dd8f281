"""A process that acknowledges nothing over a circuit, and a hole punch that is a frame too many."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from p2pnode.testbed import TestBed, missing_rights
from p2pnode.testbed.nat_kinds import FIREWALL, SYMMETRIC
from p2pnode.transports.error_code import ErrorCode
from tests.netns.program import ANSWER_TIMEOUT, Build, finished
from tests.netns.traversal import command_at, pongs, running_node

pytestmark = [pytest.mark.netns, pytest.mark.slow]

ATTACKER = Build((sys.executable, "-m", "tests.siege.provoker"))
PONGS_AFTERWARDS = 5


@pytest.fixture
def bed() -> Generator[TestBed, None, None]:
    reason = missing_rights()
    if reason is not None:
        pytest.skip(reason)
    with TestBed() as bed:
        yield bed


@pytest.mark.spec("TRANSPORT-46")
async def test_a_punch_asked_for_by_who_acknowledges_nothing_ends_its_connection_and_no_process(
    bed: TestBed, tmp_path: Path
) -> None:
    guest, newcomer, lair = (bed.add_site(n, SYMMETRIC) for n in ("guest", "newcomer", "lair"))
    async with (
        running_node(bed.add_site("relay"), tmp_path, "relay") as relay,
        running_node(bed.add_site("v", FIREWALL), tmp_path, "run", *relay.bootstrap) as victim,
    ):
        await victim.event("reservation")
        ping = ("ping", victim.peer_id, *relay.bootstrap)
        async with command_at(guest, tmp_path / "guest", *ping, "-i", "0.2") as pinging:
            await pinging.until(lambda: bool(pongs(pinging)), ANSWER_TIMEOUT, "pong")

            target = ("--relay", relay.address, "--victim", victim.peer_id)
            async with command_at(lair, tmp_path / "lair", *target, build=ATTACKER) as attacker:
                await attacker.event("asked")
                end = (await victim.event("disconnected")).line  # fails at once where it has ended
                over = (await attacker.event("over")).line
            assert over["reason"] == "too many frames provoked"
            assert over["code"] == ErrorCode.PROTOCOL_VIOLATION

            before = len(pongs(pinging))
            await pinging.until(
                lambda: len(pongs(pinging)) >= before + PONGS_AFTERWARDS, ANSWER_TIMEOUT, "pongs"
            )
        assert pongs(pinging) == pongs(pinging, path="relayed") == pinging.printed

        assert over["reason"] in end["reason"]
        assert len(victim.events("disconnected", reason=end["reason"])) == 1
        (pong,) = await finished(newcomer.host, tmp_path / "newcomer", *ping, "-c", "1")
        assert pong["path"] == "relayed"
        assert pong["rtt_ms"] is not None
