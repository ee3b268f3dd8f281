"""How long does a node need to connect, and to move a file, over links from good to hopeless?

The links are iroh's ladder of degraded networks, used in both directions.  Each is tried with
several seeds, each time with a dial and a transfer of one megabyte.

Expected: connecting takes one round trip plus what losses of the handshake cost; every transfer
that ends is byte-exact; the throughput falls with loss and round trip as CUBIC's does.

How to read it: medians over the seeds; "worst" is the slowest seed; "done" counts the seeds in
which the transfer ended within ten minutes of virtual time.  Bursts of losses are counted in
packets, as iroh's are: a side that only sends a packet every few seconds needs a minute to outlive
one of twenty, and then the idle timeout ends the connection.  That, and nothing else, is what ends
the transfers that are not done.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from p2pnode.netsim.link_presets import LADDER
from p2pnode.netsim.topology import wire
from simulations.sim_peer import SimPeer, connected

RESULTS = Path(__file__).parent / "results"
FILE_SIZE = 1_000_000
TIME_LIMIT = 600.0
SEEDS = 9


@dataclass(frozen=True, slots=True)
class Scenario:
    link: str
    file_size: int = FILE_SIZE


@dataclass(frozen=True, slots=True)
class Result:
    link: str
    seed: int
    connect_s: float | None
    transfer_s: float | None
    exact: bool
    lost: str = ""
    """Why the connection ended before the transfer, if it did."""


def run(scenario: Scenario, seed: int) -> Result:
    """Plays one scenario; times are virtual seconds, None where the limit passed first."""
    params = LADDER[scenario.link]
    network = wire(f"bad_links/{seed}", params, params)
    a, b = SimPeer(network.a), SimPeer(network.b)
    world, start = network.world, network.world.now
    a.dial(b)
    if not world.reaches(connected(a), TIME_LIMIT) or a.connection is None:
        return Result(scenario.link, seed, None, None, False)
    connect_s, start = world.now - start, world.now
    data = world.rng("file").randbytes(scenario.file_size)
    a.send(data)
    lost = lambda: a.close_reason or b.close_reason  # noqa: E731
    world.reaches(lambda: b.is_received or bool(lost()), TIME_LIMIT)
    transfer_s = round(world.now - start, 3) if b.is_received else None
    return Result(scenario.link, seed, round(connect_s, 3), transfer_s, b.file == data, lost())


def table(results: list[Result]) -> str:
    """Returns the results as a Markdown table, a line a link."""
    lines = [
        "| link | connect, s | worst | 1 MB, s | worst | kB/s | done |",
        "|---|---|---|---|---|---|---|",
    ]
    for link in LADDER:
        of_link = [r for r in results if r.link == link]
        connects = [r.connect_s for r in of_link if r.connect_s is not None]
        transfers = [r.transfer_s for r in of_link if r.transfer_s is not None]
        cells = [link]
        cells += [f"{median(connects):.2f}", f"{max(connects):.2f}"] if connects else ["-", "-"]
        if transfers:
            middle = median(transfers)
            cells += [f"{middle:.1f}", f"{max(transfers):.1f}", f"{FILE_SIZE / middle / 1000:.0f}"]
        else:
            cells += ["-", "-", "-"]
        lines.append(f"| {' | '.join(cells)} | {len(transfers)} of {len(of_link)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Nodes on bad links; writes simulations/results.")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    seeds = range(parser.parse_args(argv).seeds)
    results = [run(Scenario(link), seed) for link in LADDER for seed in seeds]
    assert all(r.exact for r in results if r.transfer_s is not None)
    RESULTS.mkdir(exist_ok=True)
    lines = "".join(json.dumps(asdict(result)) + "\n" for result in results)
    (RESULTS / "bad_links.jsonl").write_text(lines, encoding="utf-8")
    (RESULTS / "bad_links.md").write_text(table(results), encoding="utf-8")
    print(table(results), end="")


if __name__ == "__main__":
    main()
