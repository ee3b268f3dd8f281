"""`p2pnode join`: joins a swarm by one of its peers, and stays."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import CommandNode, RelayRequest, Traces
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
from p2pnode.cli.units import carriers_text
from p2pnode.errors import AddressError, P2PNodeError

if TYPE_CHECKING:
    from p2pnode.cli.session import Session

JOIN_PATIENCE = 10.0  # seconds; as long as a handshake is tried
PEERS_PATIENCE = 3.0
"""seconds for the peers that the first one knows; chosen: they are asked for after one second"""
PEERS_CHECK_INTERVAL = 0.1  # seconds; chosen: what a person takes for at once


def join(
    context: typer.Context,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDR", help="The full address of a peer of the swarm.", show_default=False
        ),
    ],
    bootstrap: BootstrapOption = None,
    listen: ListenOption = None,
    no_relay: Annotated[bool, typer.Option("--no-relay", help="Never relay for others.")] = False,
    metrics: MetricsOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Join the swarm of a peer and stay, until Ctrl-C.

    Like `run --bootstrap ADDR`, but fails where ADDR does not answer, and says whom it found.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.cli.requests import bootstrap_peers, node_request
    from p2pnode.cli.serving import Server, announce_node, metrics_address
    from p2pnode.cli.session import run_session

    request = node_request(
        environment,
        data=data,
        listen=listen,
        traces=Traces(qlog, key_log),
        bootstrap=(*bootstrap_peers([address], "ADDR"), *(bootstrap or ())),
        relay=RelayRequest("off" if no_relay else "when public"),
    )
    server = Server(environment, output, request, metrics_address(metrics))

    async def greet(node: CommandNode) -> None:
        peer = await _connect(node, address)
        text = f"joined     {address}: {peer} answers"
        output.emit({"event": "joined", "peer": peer, "addr": address}, text)
        await _count_peers(node, output)

    def announce(node: CommandNode) -> None:
        announce_node(output, node)

    async def command(session: "Session") -> int:
        return await server.serve(session, announce, greet)

    return run_session(command, serves_others=True)


async def _connect(node: CommandNode, address: str) -> str:
    import trio

    try:
        with trio.fail_after(JOIN_PATIENCE):
            return str(await node.controlled.connect(address))
    except AddressError:
        raise
    except trio.TooSlowError:
        reason = f"{address} does not answer within {JOIN_PATIENCE:.0f} s"
    except P2PNodeError as exc:
        reason = str(exc)
    raise P2PNodeError(
        f"the swarm was not joined: {reason}; check that the address is the one that the peer "
        f"prints now, and that no firewall on the way drops {carriers_text([address])} to its port"
    )


async def _count_peers(node: CommandNode, output: Output) -> None:
    """Tells how many other peers were found, once there are some or it takes too long."""
    import trio

    with trio.move_on_after(PEERS_PATIENCE):
        while len(node.controlled.known_peers) < 2:  # noqa: ASYNC110 - the one joined
            await trio.sleep(PEERS_CHECK_INTERVAL)
    others = max(0, len(node.controlled.known_peers) - 1)
    text = {0: "found      no other peer yet", 1: "found      1 other peer"}
    output.emit(
        {"event": "peers", "found": others}, text.get(others, f"found      {others} others")
    )
