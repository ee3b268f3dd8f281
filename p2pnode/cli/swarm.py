"""`p2pnode swarm`: a test swarm on one machine, behind NATs of the kernel or in virtual time."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.options import JsonOption, VerboseOption

if TYPE_CHECKING:
    from p2pnode.testbed.nat_kinds import NatKind

DEFAULT_NODES = 10
MIN_NODES = 2
MAX_NODES = 100  # chosen: processes of 65 MB each, which most machines can hold
MAX_DURATION = 86400.0  # seconds; chosen: a day
SIM_DURATION = 60.0
"""virtual seconds without --duration; chosen: all that happens early has happened then"""


def swarm(
    context: typer.Context,
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes", "-n", min=MIN_NODES, max=MAX_NODES, help="How many, relays included."
        ),
    ] = DEFAULT_NODES,
    nat: Annotated[
        str,
        typer.Option(
            "--nat",
            metavar="KIND[,KIND...]",
            help="What the nodes are behind, in turn: mix, none (loopback, needs no rights), or "
            "kinds such as port-restricted,symmetric.",
        ),
    ] = "mix",
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration",
            min=1,
            max=MAX_DURATION,
            help="Seconds from when all nodes run.  [default: until Ctrl-C; with --sim 60]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Chooses the pairs; with --sim, everything.")
    ] = 0,
    sim: Annotated[
        bool, typer.Option("--sim", help="In virtual time: no processes, no rights needed.")
    ] = False,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> int:
    """Run a test swarm on this machine, and show who reaches whom how.

    Real nodes in network namespaces, behind NATs of the kernel, ping each other; one node in five
    is a relay.  With --duration the exit code is 0 where all pairs are connected in the end.
    """
    _, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.testbed.fleet import plan_fleet

    plan = plan_fleet(nodes, _kinds(nat), seed)
    if sim:
        from p2pnode.cli.swarm_virtual import run_virtual

        return run_virtual(output, plan, seed, duration or SIM_DURATION)
    from p2pnode.cli.swarm_real import run_real

    return run_real(output, plan, seed, duration)


def _kinds(text: str) -> "tuple[NatKind, ...]":
    """Returns what --nat means; what means nothing is wrong usage."""
    from p2pnode.testbed.fleet import MIX
    from p2pnode.testbed.nat_kinds import KINDS

    kinds: list[NatKind] = []
    for name in text.split(","):
        if name == "mix":
            kinds += MIX
        elif name in KINDS:
            kinds.append(KINDS[name])
        else:
            known = ", ".join(("mix", *KINDS))
            raise typer.BadParameter(
                f"there is no kind of NAT named {name!r}; there are {known}", param_hint="--nat"
            )
    return tuple(kinds)
