"""Does AutoNAT find out whether strangers reach a node, how often is it wrong, and how soon?

A node behind each of the nine kinds of NAT (RFC 4787, mapping/filtering), on a public address,
behind a stateful firewall and where UDP is blocked.  It connects with one of six public peers; the
others are strangers to it, and that peer knows them.  50 ms of round trip between any two hosts,
without loss and with 1 % of loss from end to end.  Then the NAT becomes one that filters the other
way: the node has moved (its interface and its public address are others); only its interface has
another address; or it happens behind the node's back ("silent").

The truth: would a stranger's first packet arrive now?  It would where nothing filters: on a public
address, and behind endpoint-independent filtering, whatever the mapping.

Expected, in probe-lab's words: no false positives and no false negatives without loss, below 0.1 %
with; time to confidence under 3 s.  Where UDP is blocked the verdict stays unknown.

How to read it: "false" counts runs that ever said the wrong thing within the time of observation,
"unknown" those that said nothing by then; times are virtual seconds, median and worst.
"""

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from p2pnode.netsim.firewall import FirewallBehaviour
from p2pnode.netsim.host import Host
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.nat_behaviour import Dependence
from p2pnode.netsim.nat_box import NatBox
from p2pnode.netsim.nat_presets import box
from p2pnode.netsim.topology import ACCESS, Realm, Site, SiteParams, internet
from p2pnode.netsim.udp_block import BlockPolicy
from p2pnode.netsim.world import World
from p2pnode.protocols.autonat import Reachability
from p2pnode.swarm import events
from p2pnode.testbed.sim_node import SimNode
from simulations.nat_matrix import KINDS

RESULTS = Path(__file__).parent / "results"
PUBLIC, FIREWALL, BLOCKED = "public address", "firewall", "UDP blocked"
PLACES = (*KINDS, PUBLIC, FIREWALL, BLOCKED)
PEERS = 6
LOSS = 0.01
"""of packets from one host to another: half of it on each of two access links"""
SEEDS = 100
SETTLING = 2.0
"""seconds in which the public peers meet"""
OBSERVED = 10.0
"""seconds from the node's start"""
CHANGES = ("moved", "same address", "silent")
UPDATE_SEEDS = 3
UPDATE_LIMIT = 1200.0
"""seconds; AutoNAT looks again after 15 minutes at the latest"""
OPEN, SHUT = "EI/EI", "EI/APD"
NEW_IP = "192.168.1.77"


@dataclass(frozen=True, slots=True)
class Scenario:
    place: str
    loss: float


@dataclass(frozen=True, slots=True)
class Result:
    place: str
    loss: float
    seed: int
    truth: str
    verdict: str
    """At the end."""
    wrong: bool
    """Whether the opposite of the truth was ever said."""
    confident_s: float | None
    """From the node's start to the first verdict that is more than unknown."""


@dataclass(frozen=True, slots=True)
class Change:
    """The NAT becomes one that filters the other way."""

    before: str
    after: str
    kind: str
    loss: float


@dataclass(frozen=True, slots=True)
class Update:
    before: str
    after: str
    kind: str
    loss: float
    seed: int
    update_s: float | None
    """From the change to the right verdict."""


class Play:
    """A world with its public peers, and the node in its place."""

    def __init__(self, name: str, place: str, loss: float) -> None:
        self.world = World(f"reachability/{name}")
        access = LinkParams(delay=ACCESS.delay, loss=1 - (1 - loss) ** 0.5)
        core = internet(self.world)
        self.peers = [
            SimNode(core.host(f"s{i}", access=access), speaks_ipv6=False) for i in range(PEERS)
        ]
        first = self.peers[0]
        for peer in self.peers[1:]:
            peer.dial(first)
        self.world.run_for(SETTLING)
        self.site = _site(core, place, access)
        self.node = SimNode(self.site.hosts[0], speaks_ipv6=False)
        self.started = self.world.now
        self.node.dial(first)

    @property
    def host(self) -> Host:
        return self.node.host

    @property
    def nat(self) -> NatBox:
        assert self.site.nat is not None
        return self.site.nat

    def verdict(self) -> Reachability:
        """Returns what the node believes of itself now."""
        return self.node.swarm.facts.reachability(self.world.now)

    def move(self) -> None:
        """The machine gets another address on its network, and the node hears of it."""
        interface = self.host.interfaces[0]
        port = interface.peer
        assert port is not None
        self.site.switch.add_route(f"{NEW_IP}/32", port)
        interface.remove_address(self.host.ip)
        interface.add_address(f"{NEW_IP}/24")
        swarm = self.node.swarm
        self.host.call(swarm.handle_interfaces_changed, (NEW_IP,), self.world.now)


def _site(core: Realm, place: str, access: LinkParams) -> Site:
    params = {
        PUBLIC: SiteParams(access=access),
        FIREWALL: SiteParams(access=access, firewall=FirewallBehaviour()),
        BLOCKED: SiteParams(access=access, block=BlockPolicy()),
    }
    if place in params:
        return core.site("home", params[place])
    return core.site("home", SiteParams(access=access, nat=box(*KINDS[place])))


def truth_of(place: str) -> Reachability:
    """Returns what a stranger would find; where nothing gets out nobody can be asked."""
    if place == BLOCKED:
        return Reachability.UNKNOWN
    if place in KINDS:
        is_open = KINDS[place][1] is Dependence.ENDPOINT_INDEPENDENT
    else:
        is_open = place == PUBLIC
    return Reachability.PUBLIC if is_open else Reachability.PRIVATE


def run(scenario: Scenario, seed: int) -> Result:
    """Plays one node's first seconds."""
    place, loss = scenario.place, scenario.loss
    play = Play(f"{place}/{loss}/{seed}", place, loss)
    is_known = play.world.reaches(lambda: play.verdict() is not Reachability.UNKNOWN, OBSERVED)
    confident_s = round(play.world.now - play.started, 3) if is_known else None
    play.world.run_for(play.started + OBSERVED - play.world.now)
    truth = truth_of(place)
    said = [e.reachability for e in play.node.of(events.ReachabilityChanged)]
    wrong = any(word not in (truth, Reachability.UNKNOWN) for word in said)
    return Result(place, loss, seed, truth.value, play.verdict().value, wrong, confident_s)


def run_change(change: Change, seed: int) -> Update:
    """Plays a change of the network under a node that knows its place."""
    name = f"{change.before}/{change.after}/{change.kind}/{change.loss}/{seed}"
    play = Play(name, change.before, change.loss)
    play.world.run_for(OBSERVED)
    play.nat.change_behaviour(box(*KINDS[change.after]))
    if change.kind == "moved":
        play.nat.change_public_ips((play.nat.public_ips[0].rsplit(".", 1)[0] + ".77",))
    if change.kind != "silent":
        play.move()
    before, truth = play.world.now, truth_of(change.after)
    is_updated = play.world.reaches(lambda: play.verdict() is truth, UPDATE_LIMIT)
    update_s = round(play.world.now - before, 3) if is_updated else None
    return Update(change.before, change.after, change.kind, change.loss, seed, update_s)


def play_one(job: tuple[Scenario, int]) -> Result:
    """For another process."""
    return run(*job)


def play_change(job: tuple[Change, int]) -> Update:
    """For another process."""
    return run_change(*job)


def jobs(seeds: Iterable[int]) -> list[tuple[Scenario, int]]:
    return [(Scenario(p, loss), seed) for loss in (0.0, LOSS) for p in PLACES for seed in seeds]


def change_jobs(seeds: Iterable[int]) -> list[tuple[Change, int]]:
    pairs = ((OPEN, SHUT), (SHUT, OPEN))
    return [
        (Change(before, after, kind, loss), seed)
        for kind in CHANGES
        for loss in (0.0, LOSS)
        for before, after in pairs
        for seed in seeds
    ]


def times(values: list[float]) -> str:
    return f"{median(values):.2f} | {max(values):.2f}" if values else "- | -"


def share(part: int, whole: int) -> str:
    return f"{part / whole:.2%} ({part} of {whole})" if whole else "-"


def summary(results: list[Result]) -> str:
    """Returns probe-lab's figures over the nine NATs, a public address and a firewall."""
    lines = [
        "| loss | false positives | false negatives | unknown | to confidence, s | worst |",
        "|---|---|---|---|---|---|",
    ]
    for loss in (0.0, LOSS):
        here = [r for r in results if r.loss == loss and r.place != BLOCKED]
        private = [r for r in here if r.truth == Reachability.PRIVATE.value]
        public = [r for r in here if r.truth == Reachability.PUBLIC.value]
        unknown = sum(r.verdict == Reachability.UNKNOWN.value for r in here)
        lines.append(
            f"| {loss:.0%} | {share(sum(r.wrong for r in private), len(private))} "
            f"| {share(sum(r.wrong for r in public), len(public))} | {share(unknown, len(here))} "
            f"| {times([r.confident_s for r in here if r.confident_s is not None])} |"
        )
    return "\n".join(lines) + "\n"


def table(results: list[Result]) -> str:
    """Returns the same by place."""
    lines = [
        "| place | truth | loss | right | false | unknown | to confidence, s | worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for place in PLACES:
        for loss in (0.0, LOSS):
            here = [r for r in results if (r.place, r.loss) == (place, loss)]
            unknown = [r for r in here if r.verdict == Reachability.UNKNOWN.value]
            lines.append(
                f"| {place} | {truth_of(place).value} | {loss:.0%} "
                f"| {sum(r.verdict == r.truth and not r.wrong for r in here)} of {len(here)} "
                f"| {sum(r.wrong for r in here)} | {len(unknown)} "
                f"| {times([r.confident_s for r in here if r.confident_s is not None])} |"
            )
    return "\n".join(lines) + "\n"


def update_table(updates: list[Update]) -> str:
    """Returns how long changes take to be noticed."""
    lines = [
        "| NAT | becomes | change | loss | noticed | to update, s | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for change in dict.fromkeys(change for change, _ in change_jobs([0])):
        key = (change.before, change.after, change.kind, change.loss)
        here = [u for u in updates if (u.before, u.after, u.kind, u.loss) == key]
        found = [u.update_s for u in here if u.update_s is not None]
        lines.append(
            f"| {change.before} | {change.after} | {change.kind} | {change.loss:.0%} "
            f"| {len(found)} of {len(here)} | {times(found)} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="AutoNAT's metrics; writes simulations/results.")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--update-seeds", type=int, default=UPDATE_SEEDS)
    given = parser.parse_args(argv)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        results = list(pool.map(play_one, jobs(range(given.seeds)), chunksize=20))
        updates = list(pool.map(play_change, change_jobs(range(given.update_seeds))))
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join([summary(results), table(results), update_table(updates)])
    (RESULTS / "reachability.md").write_text(text, encoding="utf-8")
    print(text, end="")
    for wrong in [r for r in results if r.wrong][:20]:
        print("false:", wrong)


if __name__ == "__main__":
    main()
