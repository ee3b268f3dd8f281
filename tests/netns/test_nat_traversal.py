"""The program behind the kernel's NATs: who reaches whom how, and how soon."""

import itertools
from collections.abc import Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from p2pnode.testbed import NatKind, TestBed, missing_rights
from p2pnode.testbed.nat_kinds import (
    ADDRESS_RESTRICTED,
    DOUBLE,
    FIREWALL,
    FULL_CONE,
    LEAKY,
    PORT_RESTRICTED,
    SYMMETRIC,
    SYMMETRIC_DOUBLE,
    UDP_BLOCKED,
)
from tests.netns.program import ANSWER_TIMEOUT, Line, ended, finished
from tests.netns.traversal import (
    RunningNode,
    command_at,
    is_punchable,
    pongs,
    public_peers,
    running_node,
)

pytestmark = [pytest.mark.netns, pytest.mark.slow]

NOISE = 6.0
"""how many times slower than aimed at a busy machine with two cores may be"""
RESERVATION_AIM = 1.0  # seconds from process start; issue
FIRST_PONG_AIM = 0.7
DIRECT_AIM = 1.0
COMPARED_PONGS = 5
"""of which the quickest is taken: single ones wait for their turn on a busy machine"""
"""seconds after the first pong"""
PUNCH_TIMEOUT = 15.0
"""seconds for three rounds of punching, which take eight"""
KINDS = (
    FULL_CONE,
    ADDRESS_RESTRICTED,
    PORT_RESTRICTED,
    LEAKY,
    SYMMETRIC,
    FIREWALL,
    DOUBLE,
    SYMMETRIC_DOUBLE,
)
PAIRS = [
    (a, b)
    for a, b in itertools.combinations(KINDS, 2)
    # The second symmetric kind is there to meet the first.
    if b is not SYMMETRIC_DOUBLE or a is SYMMETRIC
]


@pytest.fixture(scope="module")
def rights() -> None:
    reason = missing_rights()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def bed(rights: None) -> Generator[TestBed, None, None]:
    with TestBed() as bed:
        yield bed


class Meeting(NamedTuple):
    """What became of a pair."""

    pong: Line
    """The first one."""
    is_direct: bool
    """In the end."""
    punches: list[Line]
    """Of the side that pinged."""


class Town(NamedTuple):
    """What became of all."""

    reservations: dict[str, float]
    """name -> seconds from the start of the process"""
    meetings: dict[tuple[NatKind, NatKind], Meeting]
    reasons: dict[tuple[NatKind, NatKind], Line]
    """(who asked, about whom) -> the answer of `why`; of pairs that stay relayed"""
    verdicts: dict[str, str]
    """name -> the last one on reachability"""


@pytest.fixture(scope="module")
def town(rights: None, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Three public peers, one host behind each kind of NAT, and all pairs of these."""
    with TestBed() as bed:
        return trio.run(let_them_meet, bed, tmp_path_factory.mktemp("homes"))


async def let_them_meet(bed: TestBed, homes: Path) -> Town:
    nodes: dict[NatKind, RunningNode] = {}
    town = Town({}, {}, {}, {})
    # More at a time would have them wait for this machine and not for each other.
    limit = trio.CapacityLimiter(4)

    async def meet(one: NatKind, other: NatKind) -> None:
        async with limit:
            town.meetings[one, other] = await meeting(nodes[one], nodes[other])

    async def ask(one: NatKind, other: NatKind) -> None:
        node = nodes[one]
        async with limit:
            (line,) = await finished(node.site.host, node.home, "why", nodes[other].peer_id)
            town.reasons[one, other] = line

    async with AsyncExitStack() as stack:
        bootstrap = await stack.enter_async_context(public_peers(bed, homes))
        for kind in KINDS:
            site = bed.add_site(kind.name, kind)
            entering = stack.enter_async_context(running_node(site, homes, "run", *bootstrap))
            nodes[kind] = await entering
        for kind, node in nodes.items():
            town.reservations[kind.name] = (await node.event("reservation")).at
            town.verdicts[kind.name] = (await node.event("reachability")).line["verdict"]
        async with trio.open_nursery() as nursery:
            for pair in PAIRS:
                nursery.start_soon(meet, *pair)
        async with trio.open_nursery() as nursery:
            for one, other in PAIRS:
                if not town.meetings[one, other].is_direct:
                    nursery.start_soon(ask, one, other)
                    nursery.start_soon(ask, other, one)
        for kind, node in nodes.items():
            town.verdicts[kind.name] = node.events("reachability")[-1].line["verdict"]
    return town


async def meeting(one: RunningNode, other: RunningNode) -> Meeting:
    """Pings, and waits until it is clear whether the two get a direct path."""
    (pong,) = await finished(one.site.host, one.home, "ping", other.peer_id, "-c", "1")
    if pong["path"] == "direct":
        return Meeting(pong, True, [])

    def is_direct() -> bool:
        return bool(one.events("path", peer=other.peer_id, path="direct"))

    def punches() -> list[Line]:
        return [p.line for p in one.events("punch", peer=other.peer_id)]

    def is_over() -> bool:
        return is_direct() or any(punch["round"] == 3 for punch in punches())

    await one.until(is_over, PUNCH_TIMEOUT, f"end of punching to {other.name}")
    return Meeting(pong, is_direct(), punches())


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda kind: kind.name)
def test_each_reaches_each_and_directly_wherever_theory_says_so(
    town: Town, one: NatKind, other: NatKind
) -> None:
    meeting = town.meetings[one, other]

    assert meeting.pong["rtt_ms"] is not None
    assert meeting.is_direct == is_punchable(one, other), meeting


def test_reservations_are_made_at_once(town: Town) -> None:
    assert max(town.reservations.values()) < NOISE * RESERVATION_AIM, town.reservations


async def test_a_peer_is_reached_at_once_and_directly_soon_after(
    bed: TestBed, tmp_path: Path
) -> None:
    site = bed.add_site("b", PORT_RESTRICTED)
    async with (
        running_node(bed.add_site("relay"), tmp_path, "relay") as relay,
        running_node(bed.add_site("a", PORT_RESTRICTED), tmp_path, "run", *relay.bootstrap) as a,
    ):
        await a.event("reservation")
        ping = ("ping", a.peer_id, *relay.bootstrap, "-i", "0.05")
        async with command_at(site, tmp_path / "b", *ping) as pinging:
            await pinging.until(
                lambda: len(pongs(pinging, path="direct")) >= COMPARED_PONGS,
                ANSWER_TIMEOUT,
                "direct pongs",
            )

    first, direct = pongs(pinging)[0], pongs(pinging, path="direct")[0]
    quickest = {
        path: min(pong.line["rtt_ms"] for pong in pongs(pinging, path=path))
        for path in ("relayed", "direct")
    }
    assert first.line["path"] == "relayed"
    assert first.at < NOISE * FIRST_PONG_AIM
    assert direct.at - first.at < NOISE * DIRECT_AIM
    assert quickest["direct"] < quickest["relayed"]
    assert len(pongs(pinging)) == len(pinging.printed)


def test_nodes_find_out_whether_strangers_reach_them(town: Town) -> None:
    public = {kind.name: "public" if kind is FULL_CONE else "private" for kind in KINDS}

    assert town.verdicts == public


def test_why_names_the_side_and_the_property_that_keep_a_pair_relayed(town: Town) -> None:
    relayed = [pair for pair in PAIRS if not is_punchable(*pair)]

    assert {pair for pair in town.reasons if pair in PAIRS} == set(relayed)
    for one, other in relayed:
        for asker, asked in ((one, other), (other, one)):
            answer = town.reasons[asker, asked]
            assert answer["path"] == "relayed"
            assert answer["cause"] is not None, answer
            symmetric = [k for k in (asker, asked) if k in (SYMMETRIC, SYMMETRIC_DOUBLE)]
            side = "both" if len(symmetric) == 2 else "ours" if asker in symmetric else "theirs"
            assert answer["cause"]["side"] == side, answer


@pytest.mark.parametrize("kind", [PORT_RESTRICTED, SYMMETRIC], ids=["direct", "relayed"])
async def test_a_peer_that_was_killed_is_reached_again_under_its_id(
    bed: TestBed, tmp_path: Path, kind: NatKind
) -> None:
    site = bed.add_site("a", kind)
    async with (
        running_node(bed.add_site("relay"), tmp_path, "relay") as relay,
        running_node(bed.add_site("b", PORT_RESTRICTED), tmp_path, "run", *relay.bootstrap) as b,
    ):
        async with running_node(site, tmp_path, "run", *relay.bootstrap) as a:
            await a.event("reservation")
            await finished(b.site.host, b.home, "ping", a.peer_id, "-c", "1")
            if is_punchable(kind, PORT_RESTRICTED):
                await b.event("path", peer=a.peer_id, path="direct")
            await a.program.kill()
        async with (
            running_node(site, tmp_path, "run", *relay.bootstrap) as again,
            command_at(b.site, b.home, "ping", a.peer_id, "-i", "0.2") as pinging,
        ):
            await pinging.until(lambda: bool(pongs(pinging)), ANSWER_TIMEOUT, "pong")

    assert again.peer_id == a.peer_id


async def test_where_udp_is_blocked_a_sentence_says_so(bed: TestBed, tmp_path: Path) -> None:
    site = bed.add_site("blocked", UDP_BLOCKED)
    async with (
        running_node(bed.add_site("relay"), tmp_path, "relay") as relay,
        running_node(bed.add_site("a", FULL_CONE), tmp_path, "run", *relay.bootstrap) as a,
    ):
        await a.event("reservation")
        done = await ended(site.host, tmp_path, "ping", a.peer_id, *relay.bootstrap)

    assert done.code == 1
    assert "UDP" in done.lines[-1]["error"]
