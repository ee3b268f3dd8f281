"""Test swarms: what is planned, what the board makes of reports, and the swarm in virtual time."""

from collections import Counter

import pytest

from p2pnode.testbed.fleet import MAX_BOOTSTRAP, MAX_PAIRS, MIX, FleetPlan, Pair, plan_fleet
from p2pnode.testbed.fleet_board import LOSS_PATIENCE, Board, NodeView, PairView, Way
from p2pnode.testbed.fleet_sim import SimFleet
from p2pnode.testbed.nat_kinds import (
    FULL_CONE,
    KINDS,
    NONE,
    PORT_FORWARD,
    PORT_RESTRICTED,
    SYMMETRIC,
    UDP_BLOCKED,
    NatKind,
)

VIA = "/ip4/20.0.0.1/udp/4001/noise"


def way(path: str) -> Way:
    return Way(path, VIA, "noise-udp", False)


def played(seconds: float, nodes: int, *kinds: NatKind, seed: int = 0) -> Board:
    plan = plan_fleet(nodes, kinds, seed)
    board = Board(plan)
    SimFleet(plan, board, seed).run_for(seconds)
    return board


def facts(board: Board) -> list[object]:
    """Everything that a board knows, as values that compare."""
    nodes = [(n.peer_id, n.verdict, n.relays, n.started_at) for n in board.nodes.values()]
    pairs = [(p.pair, p.path, p.via, p.rtt, p.connected_after) for p in board.pairs.values()]
    return [nodes, pairs, board.summary()]


# the plan


@pytest.mark.parametrize("nodes", range(2, 41))
def test_every_node_has_relays_to_begin_with_and_somebody_to_reach(nodes: int) -> None:
    plan = plan_fleet(nodes, MIX, 0)

    assert len(plan.members) == nodes
    assert 1 <= len(plan.relays) < nodes
    assert all(plan.bootstrap_of(member) for member in plan.members[1:])
    assert plan.bootstrap_of(plan.members[0]) == ()
    assert all(len(plan.bootstrap_of(member)) <= MAX_BOOTSTRAP for member in plan.members)
    assert 1 <= len(plan.pairs) <= MAX_PAIRS
    assert len({frozenset(pair) for pair in plan.pairs}) == len(plan.pairs)


@pytest.mark.parametrize("nodes", [30, 60, 100])
def test_a_sample_of_pairs_has_every_node_about_as_often(nodes: int) -> None:
    plan = plan_fleet(nodes, MIX, 0)
    often = Counter(name for pair in plan.pairs for name in pair)

    assert len(plan.pairs) == MAX_PAIRS
    assert set(often) == {member.name for member in plan.others}
    assert max(often.values()) - min(often.values()) <= 2


def test_all_pairs_are_asked_where_they_are_few() -> None:
    plan = plan_fleet(10, MIX, 0)
    count = len(plan.others)

    assert len(plan.pairs) == count * (count - 1) // 2


@pytest.mark.spec("BED-16")
def test_a_plan_depends_on_its_arguments_alone() -> None:
    assert plan_fleet(40, MIX, 1) == plan_fleet(40, MIX, 1)
    assert plan_fleet(40, MIX, 1) != plan_fleet(40, MIX, 2)


def test_a_plan_without_nats_is_plain() -> None:
    assert plan_fleet(5, (NONE,), 0).is_plain
    assert not plan_fleet(5, (NONE, SYMMETRIC), 0).is_plain


# the board


@pytest.fixture
def plan() -> FleetPlan:
    return plan_fleet(4, (NONE,), 0)


@pytest.fixture
def board(plan: FleetPlan) -> Board:
    board = Board(plan)
    for i, member in enumerate(plan.members):
        board.started(member.name, f"id-{member.name}", (VIA,), float(i))
    board.poll_changes()
    return board


@pytest.fixture
def pair(plan: FleetPlan) -> Pair:
    return plan.pairs[0]


def test_a_pair_is_relayed_then_direct_and_its_times_are_kept(board: Board, pair: Pair) -> None:
    board.asked(pair, 10.0)
    board.pong(pair, way("relayed"), 0.1, 11.0)
    board.pong(pair, way("relayed"), 0.1, 12.0)
    board.pong(pair, way("direct"), 0.05, 13.0)
    (view,) = board.poll_changes()

    assert isinstance(view, PairView)
    assert (view.path, view.connected_after, view.direct_after) == ("direct", 1.0, 3.0)
    assert board.poll_changes() == []
    summary = board.summary()
    assert (summary.pairs, summary.direct, summary.relayed, summary.unconnected) == (3, 1, 0, 2)
    assert not summary.is_whole
    assert summary.all_connected_after is None


def test_one_lost_ping_is_counted_and_silence_disconnects(board: Board, pair: Pair) -> None:
    board.asked(pair, 10.0)
    board.pong(pair, way("direct"), 0.05, 11.0)
    board.lost(pair, "gone", 11.0 + LOSS_PATIENCE)
    assert board.pairs[pair].path == "direct"

    board.lost(pair, "gone", 11.1 + LOSS_PATIENCE)
    view = board.pairs[pair]
    assert (view.path, view.reason, view.lost) == (None, "gone", 2)


def test_whoever_ends_is_reached_by_nobody_and_has_the_last_word(board: Board, pair: Pair) -> None:
    for each in board.pairs:
        board.asked(each, 10.0)
        board.pong(each, way("direct"), 0.05, 10.0)
    assert board.summary().is_whole
    board.poll_changes()

    board.ended(pair.target, "out of memory\n")

    changes = board.poll_changes()
    (node,) = [change for change in changes if isinstance(change, NodeView)]
    assert (node.end, node.is_running) == ("out of memory", False)
    broken = [change for change in changes if isinstance(change, PairView)]
    assert {view.pair for view in broken} == {p for p in board.pairs if pair.target in p}
    assert board.summary().unconnected == len(broken)


def test_relays_go_by_their_names(board: Board) -> None:
    board.reserved("n1", ("id-r1", "somebody"))

    assert board.nodes["n1"].relays == ("r1", "somebody")


# virtual time


@pytest.mark.slow
@pytest.mark.spec("BED-21")
def test_the_same_seed_gives_the_same_swarm() -> None:
    kinds = (PORT_RESTRICTED, SYMMETRIC, FULL_CONE)

    assert facts(played(6.0, 6, *kinds)) == facts(played(6.0, 6, *kinds))
    assert facts(played(6.0, 6, *kinds)) != facts(played(6.0, 6, *kinds, seed=1))


@pytest.mark.slow
def test_everybody_reaches_everybody_and_directly_where_the_nats_allow_it() -> None:
    board = played(15.0, 4, PORT_RESTRICTED, SYMMETRIC, FULL_CONE)
    paths = {frozenset(view.pair): view.path for view in board.pairs.values()}

    assert board.summary().is_whole
    assert paths[frozenset(("n1", "n2"))] == "relayed"
    assert paths[frozenset(("n1", "n3"))] == "direct"
    assert paths[frozenset(("n2", "n3"))] == "direct"
    assert [board.nodes[f"n{i}"].verdict for i in (1, 2, 3)] == ["private", "private", "public"]
    assert "r1" in board.nodes["n1"].relays


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_of_nat_can_be_played(kind: NatKind) -> None:
    board = played(8.0, 3, kind)
    (pair,) = board.pairs.values()

    if kind is UDP_BLOCKED:
        assert pair.path is None
        assert pair.reason
    else:
        assert pair.path is not None


@pytest.mark.slow
def test_strangers_reach_a_host_whose_router_passes_everything_on() -> None:
    board = played(8.0, 4, PORT_FORWARD)
    verdicts = {board.nodes[f"n{i}"].verdict for i in (1, 2, 3)}

    # The first ones may have nobody left who is a stranger to them.
    assert verdicts <= {"public", "unknown"}
    assert "public" in verdicts
