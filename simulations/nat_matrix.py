"""Which pairs of NATs does hole punching join, and how soon?

Two nodes behind a NAT box each, and a relay: all 81 pairs of the nine kinds of RFC 4787 (mapping x
filtering), with filter state by internal endpoint and by mapping, 50 ms of round trip between any
two hosts, 1 % of loss on each access link.  B joins through the relay and dials A by its bare id.

Expected: the cells that `direct_path_possible` predicts, and no others, get a direct path (49 and
45 of 81), for every seed; every cell is connected through the relay.  Times: a first pong takes
about seven round trips from B's start (handshake with the relay, circuit, handshake with A, ping),
a direct path four more.

How to read it: times are virtual seconds; "pong" is from B's start to the first pong, "direct" is
from the first pong to the direct path.  A row is A's NAT, which was dialled; a column is B's.
"""

import argparse
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles

from p2pnode.identity.peer_id import PeerId
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.nat_behaviour import Dependence, FilterScope
from p2pnode.netsim.nat_presets import NINE_KINDS, box
from p2pnode.netsim.topology import ACCESS, nat_pair
from p2pnode.swarm import SwarmConfig, events
from p2pnode.swarm.config import RelayMode
from p2pnode.testbed.sim_node import SimNode
from simulations.nat_matrix_picture import Cell, picture

RESULTS = Path(__file__).parent / "results"
LOSS = 0.01
"""of each access link, in each direction"""
SEEDS = 3
RESERVATION_LIMIT = 10.0
HEAD_START = 2.0
"""seconds that A's reservation is old when B starts"""
DIAL_LIMIT = 20.0
PUNCH_LIMIT = 15.0
"""seconds for all three rounds, which are over after nine"""

SHORT = {
    Dependence.ENDPOINT_INDEPENDENT: "EI",
    Dependence.ADDRESS_DEPENDENT: "AD",
    Dependence.ADDRESS_AND_PORT_DEPENDENT: "APD",
}
Kind = tuple[Dependence, Dependence]


def name_of(kind: Kind) -> str:
    """Returns a kind as the table writes it: mapping / filtering."""
    return f"{SHORT[kind[0]]}/{SHORT[kind[1]]}"


KINDS: dict[str, Kind] = {name_of(kind): kind for kind in NINE_KINDS}
SCOPES: dict[str, FilterScope] = {scope.value: scope for scope in FilterScope}


# The oracle: drawn from RFC 4787's definitions by hand, row A, column B, "*" only where filter
# state belongs to the internal endpoint.  It knows no code, and no code but the check knows it.
ORACLE = {
    "EI/EI": "Y Y Y  Y Y Y  Y Y Y",
    "EI/AD": "Y Y Y  Y Y Y  Y Y Y",
    "EI/APD": "Y Y Y  . . .  . . .",
    "AD/EI": "Y Y .  Y Y .  Y Y .",
    "AD/AD": "Y Y .  Y * .  Y * .",
    "AD/APD": "Y Y .  . . .  . . .",
    "APD/EI": "Y Y .  Y Y .  Y Y .",
    "APD/AD": "Y Y .  Y * .  Y * .",
    "APD/APD": "Y Y .  . . .  . . .",
}


def direct_path_possible(a: str, b: str, scope: str) -> bool:
    """Returns what the oracle says of a cell."""
    mark = ORACLE[a].split()[list(ORACLE).index(b)]
    return mark == "Y" or (mark == "*" and SCOPES[scope] is FilterScope.INTERNAL_ENDPOINT)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One cell; strings, so that another process can be handed it."""

    a: str
    b: str
    scope: str
    loss: float = LOSS


@dataclass(frozen=True, slots=True)
class Result:
    a: str
    b: str
    scope: str
    seed: int
    reserved_s: float | None
    """From A's start to its reservation."""
    pong_s: float | None
    direct_s: float | None
    """None where the path stayed relayed."""
    punch_round: int | None
    """Which round made the direct path; 0 where none had to."""
    is_expected: bool
    """Whether the oracle says the same."""


def run(scenario: Scenario, seed: int) -> Result:
    """Plays one cell; times are virtual seconds, None where it did not happen."""
    boxes = (box(*KINDS[kind], SCOPES[scenario.scope]) for kind in (scenario.a, scenario.b))
    access = LinkParams(delay=ACCESS.delay, loss=scenario.loss)
    net = nat_pair(
        f"nat_matrix/{scenario.a}/{scenario.b}/{scenario.scope}/{seed}", *boxes, access=access
    )
    world = net.world
    relay = SimNode(
        net.public[0], speaks_ipv6=False, config=SwarmConfig(relay_mode=RelayMode.ALWAYS)
    )
    a = SimNode(net.a, speaks_ipv6=False)
    started = world.now
    a.dial(relay)
    is_reserved = world.reaches(lambda: bool(a.swarm.facts.relayed_addresses()), RESERVATION_LIMIT)
    reserved_s = round(world.now - started, 3) if is_reserved else None
    world.run_for(HEAD_START)
    b = SimNode(net.b, speaks_ipv6=False)
    pong_s = _first_pong(b, relay, a.swarm.peer_id)
    direct_s = punch_round = None
    if pong_s is not None:
        before = world.now
        is_direct = world.reaches(lambda: _is_direct(a, b) and _is_direct(b, a), PUNCH_LIMIT)
        direct_s = round(world.now - before, 3) if is_direct else None
        rounds = [e.round for e in a.of(events.PunchEnded) if e.is_direct]
        punch_round = (rounds[0] if rounds else 0) if is_direct else None
    expected = direct_path_possible(scenario.a, scenario.b, scenario.scope)
    is_expected = pong_s is not None and (direct_s is not None) is expected
    cell = (scenario.a, scenario.b, scenario.scope)
    return Result(*cell, seed, reserved_s, pong_s, direct_s, punch_round, is_expected)


def _first_pong(b: SimNode, relay: SimNode, wanted: PeerId) -> float | None:
    """B joins, dials A by its id and pings it; returns how long that took."""
    world, started = b.host.world, b.host.world.now
    b.dial(relay)
    b.dial(wanted)
    if not world.reaches(lambda: b.swarm.facts.best(wanted) is not None, DIAL_LIMIT):
        return None
    connection = b.swarm.facts.best(wanted)
    assert connection is not None
    b.host.call(b.swarm.ping, connection, world.now)
    is_answered = world.reaches(lambda: bool(b.of(events.PongReceived)), DIAL_LIMIT)
    return round(world.now - started, 3) if is_answered else None


def _is_direct(node: SimNode, other: SimNode) -> bool:
    return node.swarm.facts.direct(other.swarm.peer_id) is not None


def play(job: tuple[Scenario, int]) -> Result:
    """For another process."""
    return run(*job)


def grid(seeds: Iterable[int]) -> list[tuple[Scenario, int]]:
    """Returns every cell with every seed."""
    return [
        (Scenario(a, b, scope), seed)
        for scope in SCOPES
        for a in KINDS
        for b in KINDS
        for seed in seeds
    ]


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def times(values: list[float]) -> str:
    """Returns median and 95th percentile, to two decimals."""
    return f"{median(values):.2f} | {p95(values):.2f}" if values else "- | -"


def table(results: list[Result]) -> str:
    """Returns what the grid amounts to, as Markdown."""
    lines = [
        "| filter state by | cells direct | as predicted | relayed at least | pong, s | p95 "
        "| direct, s | p95 | by round 1 / 2 / 3 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for scope in SCOPES:
        of_scope = [r for r in results if r.scope == scope]
        direct = [r for r in of_scope if r.direct_s is not None]
        cells = {(r.a, r.b) for r in direct}
        rounds = [sum(r.punch_round == n for r in direct) for n in (1, 2, 3)]
        lines.append(
            f"| {scope} | {len(cells)} of {len({(r.a, r.b) for r in of_scope})} "
            f"| {sum(r.is_expected for r in of_scope)} of {len(of_scope)} runs "
            f"| {sum(r.pong_s is not None for r in of_scope)} of {len(of_scope)} runs "
            f"| {times([r.pong_s for r in of_scope if r.pong_s is not None])} "
            f"| {times([r.direct_s for r in direct if r.direct_s is not None])} "
            f"| {' / '.join(map(str, rounds))} |"
        )
    reserved = [r.reserved_s for r in results if r.reserved_s is not None]
    lines += ["", f"Reservation after A's start, median | p95, s: {times(reserved)}"]
    return "\n".join(lines) + "\n"


def cells_of(results: list[Result], scope: str) -> dict[tuple[str, str], Cell]:
    """Returns what the picture shows of a scope."""
    cells: dict[tuple[str, str], Cell] = {}
    for a in KINDS:
        for b in KINDS:
            here = [r for r in results if (r.scope, r.a, r.b) == (scope, a, b)]
            direct = [r.direct_s for r in here if r.direct_s is not None]
            if here:
                cells[a, b] = Cell(
                    share=len(direct) / len(here),
                    direct_s=median(direct) if direct else None,
                    is_expected=all(r.is_expected for r in here),
                )
    return cells


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The NAT matrix; writes simulations/results.")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    jobs = grid(range(parser.parse_args(argv).seeds))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        results = list(pool.map(play, jobs, chunksize=9))
    RESULTS.mkdir(exist_ok=True)
    lines = "".join(json.dumps(asdict(result)) + "\n" for result in results)
    (RESULTS / "nat_matrix.jsonl").write_text(lines, encoding="utf-8")
    (RESULTS / "nat_matrix.md").write_text(table(results), encoding="utf-8")
    grids = {f"filter state by {s}": cells_of(results, s) for s in SCOPES}
    (RESULTS / "nat_matrix.svg").write_text(picture(grids), encoding="utf-8")
    print(table(results), end="")
    for wrong in [r for r in results if not r.is_expected][:20]:
        print("not as predicted:", wrong)


if __name__ == "__main__":
    main()
