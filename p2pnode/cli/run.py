"""`p2pnode run`: a peer that runs until it is told to stop."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import CommandNode, RelayRequest, Traces
from p2pnode.cli.limit_options import LimitOption, ProtectOption
from p2pnode.cli.options import (
    BootstrapOption,
    DataOption,
    JsonOption,
    KeyLogOption,
    ListenOption,
    MetricsOption,
    QlogOption,
    VerboseOption,
)
from p2pnode.cli.output import Output

if TYPE_CHECKING:
    from p2pnode.cli.session import Session


def run(
    context: typer.Context,
    bootstrap: BootstrapOption = None,
    connect: Annotated[
        list[str] | None, typer.Option("--connect", metavar="MULTIADDR", hidden=True)
    ] = None,
    listen: ListenOption = None,
    no_relay: Annotated[
        bool,
        typer.Option(
            "--no-relay",
            help="Never relay for others.  [default: with modest limits, once strangers reach "
            "this peer]",
        ),
    ] = False,
    limit: LimitOption = None,
    protect: ProtectOption = None,
    metrics: MetricsOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Run a peer and report what it learns, until Ctrl-C."""
    environment, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.cli.requests import node_request
    from p2pnode.cli.serving import Server, announce_node, metrics_address
    from p2pnode.cli.session import run_session

    request = node_request(
        environment,
        data=data,
        listen=listen,
        traces=Traces(qlog, key_log),
        bootstrap=(*(bootstrap or ()), *(connect or ())),
        relay=RelayRequest("off" if no_relay else "when public"),
        limits=limit,
        protect=protect,
    )
    server = Server(environment, output, request, metrics_address(metrics))

    def announce(node: CommandNode) -> None:
        addresses = announce_node(output, node)
        if not request.bootstrap:
            _announce_solitude(output, addresses)

    async def command(session: "Session") -> int:
        return await server.serve(session, announce)

    return run_session(command, serves_others=True)


def _announce_solitude(output: Output, addresses: list[str]) -> None:
    example = addresses[0] if addresses else "ADDRESS"
    output.emit(
        {"event": "alone", "hint": "run `p2pnode ping` or use --bootstrap"},
        "This peer is alone: it knows of no other.  From another terminal or machine run",
        f"  p2pnode ping {example}",
        "or start this one with --bootstrap and the address of a peer that runs.",
    )
