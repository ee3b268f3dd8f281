"""`p2pnode receive`: waits for files and writes them into a folder."""

import os
import shlex
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import CommandNode, NodeRequest, Traces
from p2pnode.cli.options import (
    BootstrapOption,
    DataOption,
    JsonOption,
    KeyLogOption,
    ListenOption,
    QlogOption,
    VerboseOption,
)
from p2pnode.cli.output import Output
from p2pnode.cli.progress import ProgressBar, ProgressBars
from p2pnode.cli.units import path_text, transfer_text
from p2pnode.errors import P2PNodeError
from p2pnode.escape import quoted

if TYPE_CHECKING:
    from p2pnode.cli.session import Session
    from p2pnode.io.applications.file_receiver import IncomingTransfer
    from p2pnode.io.applications.file_transfer import TransferError, Transferred


def receive(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where files go.  [default: here]", show_default=False),
    ] = Path(),
    once: Annotated[bool, typer.Option("--once", help="End after the first file.")] = False,
    bootstrap: BootstrapOption = None,
    listen: ListenOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Wait for files from peers that run `p2pnode send`.

    Nothing is overwritten: a file whose name is taken gets a number.  Ctrl-C while no file is on
    its way ends with 0, in the middle of one with 1, and then nothing is left of it.  A file that
    does not fit on the disk is refused, and the others go on.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.cli.requests import node_request
    from p2pnode.cli.session import run_session
    from p2pnode.cli.waiting import open_waiting_node
    from p2pnode.io.applications.file_receiver import MAX_TRANSFERS, FileReceiver
    from p2pnode.io.applications.partial_file import remove_leftovers
    from p2pnode.protocols.file_transfer import PROTOCOL_ID

    request = node_request(
        environment,
        data=data,
        listen=listen,
        bootstrap=bootstrap,
        traces=Traces(qlog, key_log),
    )
    _check_folder(folder)
    remove_leftovers(folder)

    async def command(session: "Session") -> int:
        with ProgressBars() as bars:
            reporter = _Reporter(output, bars, is_once=once)
            limit = 1 if once else MAX_TRANSFERS
            receiver = FileReceiver(folder, reporter, max_transfers=limit)
            session.code_if_interrupted = lambda: 1 if receiver.is_receiving else 0
            async with open_waiting_node(environment, output, request) as node:
                node.handle(PROTOCOL_ID, receiver.handle, 4 * MAX_TRANSFERS)
                _announce(output, node, request)
                await reporter.finished.wait()
                node.unhandle(PROTOCOL_ID)
                await receiver.wait_idle()
        return 0

    return run_session(command, serves_others=True)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise P2PNodeError(f"{folder} is not a folder; make it first, or name another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise P2PNodeError(f"{folder} cannot be written to; name another folder")


def _announce(output: Output, node: CommandNode, request: NodeRequest) -> None:
    from p2pnode.cli.waiting import ways_to

    addresses = [str(address) for address in node.controlled.addresses]
    commands = [f"  p2pnode send FILE {way}" for way in ways_to(node, request)]
    heading = "waiting for files; on the other machine run one of"
    output.emit({"event": "listening", "addresses": addresses}, heading, *commands)


class _Reporter:
    """Prints how transfers go, and knows when the command is done; a `TransferObserver`."""

    def __init__(self, output: Output, bars: ProgressBars, *, is_once: bool) -> None:
        import trio

        self.finished = trio.Event()
        self._output = output
        self._bars = bars
        self._is_once = is_once
        self._bar_of: dict[IncomingTransfer, ProgressBar] = {}

    def handle_started(self, transfer: "IncomingTransfer") -> None:
        self._bar_of[transfer] = self._bars.add(transfer.name, transfer.size)

    def handle_progress(self, transfer: "IncomingTransfer", received: int) -> None:
        self._bar_of[transfer].update(received)

    def handle_received(
        self, transfer: "IncomingTransfer", path: Path, transferred: "Transferred"
    ) -> None:
        self._bar_of.pop(transfer).remove()
        route = transfer.stream.connection_info
        fields = {
            "event": "received",
            "file": str(path),
            "offered_as": transfer.offered,
            "bytes": transferred.size,
            "sha256": transferred.sha256,
            "seconds": round(transferred.seconds, 6),
            "path": route.path,
            "peer": str(transfer.stream.peer_id),
            "via": str(route.via),
            "transport": str(route.transport),
            "limited": route.is_limited,
        }
        summary = transfer_text(transferred.size, transferred.seconds)
        way = path_text(route.path, route.is_limited)
        name = f"{shlex.quote(str(path))}{_offer_text(transfer)}"
        text = f"received {name} from {transfer.stream.peer_id}: {summary}, {way}"
        self._output.emit(fields, text, f"sha256 {transferred.sha256}")
        if self._is_once:
            self.finished.set()

    def handle_failed(self, transfer: "IncomingTransfer | None", failure: "TransferError") -> None:
        fields = {"event": "failed", "file": None, "offered_as": None, "reason": str(failure)}
        name = "a file"
        if transfer is not None:
            fields |= {"file": transfer.name, "offered_as": transfer.offered}
            name = f"{shlex.quote(transfer.name)}{_offer_text(transfer)}"
            bar = self._bar_of.pop(transfer, None)
            if bar is not None:
                bar.remove()
        self._output.emit(fields, f"{name} was not received: {failure}")


def _offer_text(transfer: "IncomingTransfer") -> str:
    """Tells of a name that had to be changed; how its letters are composed is not to be seen."""
    is_same = unicodedata.normalize("NFC", transfer.offered) == transfer.name
    return "" if is_same else f" (offered as {quoted(transfer.offered)})"
