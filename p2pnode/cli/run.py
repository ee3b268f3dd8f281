"""`p2pnode run`: a peer that runs until it is told to stop."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import CommandNode, NodeRequest, Traces
from p2pnode.cli.options import (
    DataOption,
    JsonOption,
    KeyLogOption,
    ListenOption,
    QlogOption,
    VerboseOption,
)
from p2pnode.cli.output import Output
from p2pnode.errors import AddressError, P2PNodeError

if TYPE_CHECKING:
    from p2pnode.cli.session import Session

RECONNECT_INTERVAL = 15.0  # seconds; chosen: a peer that restarts is back before anybody asks


def run(
    context: typer.Context,
    connect: Annotated[
        list[str] | None,
        typer.Option(
            "--connect",
            metavar="MULTIADDR",
            help="A peer to connect to, and to connect to again; may be repeated.",
            show_default=False,
        ),
    ] = None,
    listen: ListenOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Run a peer and report what it learns, until Ctrl-C."""
    environment, output = begin(context, is_json=json, verbose=verbose)
    import trio

    from p2pnode.cli.session import run_session

    request = NodeRequest(
        data=environment.data_folder(data),
        listen=tuple(listen) if listen else None,
        traces=Traces(qlog, key_log),
    )

    async def command(session: "Session") -> int:
        async with environment.open_node(request) as node:
            session.code_if_interrupted = lambda: 0
            _announce(output, node, is_alone=not connect)
            async with trio.open_nursery() as nursery:
                for address in connect or ():
                    nursery.start_soon(_keep_connected, node, address, output)
                async for report in node.reports():
                    output.emit({"event": report.event, **report.fields}, report.text)
                nursery.cancel_scope.cancel()
        return 0

    return run_session(command)


def _announce(output: Output, node: CommandNode, *, is_alone: bool) -> None:
    peer_id = str(node.controlled.peer_id)
    addresses = [str(address) for address in node.controlled.addresses]
    lines = [f"peer id    {peer_id}", *(f"listening  {address}" for address in addresses)]
    output.emit({"event": "started", "peer_id": peer_id, "addresses": addresses}, "\n".join(lines))
    if is_alone:
        example = addresses[0] if addresses else "ADDRESS"
        hint = (
            "This peer is alone: it knows of no other.  From another terminal or machine run\n"
            f"  p2pnode ping {example}\n"
            "or start this one with --connect and the address of a peer that runs."
        )
        output.emit({"event": "alone", "hint": "run `p2pnode ping` or use --connect"}, hint)


async def _keep_connected(node: CommandNode, address: str, output: Output) -> None:
    """Dials the peer, and again whenever it is gone.  Raises AddressError: that never gets better.

    A dial that leads to a connection that stands does nothing.
    """
    import trio

    while True:
        try:
            await node.controlled.connect(address)
        except AddressError:
            raise
        except P2PNodeError as exc:
            fields = {"event": "dial_failed", "address": address, "reason": str(exc)}
            text = f"no connection to {address}: {exc}; trying again in {RECONNECT_INTERVAL:.0f} s"
            output.emit(fields, text)
        await trio.sleep(RECONNECT_INTERVAL)
