"""`p2pnode send`: a file to a peer that waits for one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import Traces
from p2pnode.cli.options import (
    BootstrapOption,
    DataOption,
    JsonOption,
    KeyLogOption,
    PeerArgument,
    QlogOption,
    VerboseOption,
)
from p2pnode.cli.progress import ProgressBars
from p2pnode.cli.units import path_text, transfer_text

if TYPE_CHECKING:
    from p2pnode.cli.session import Session


def send(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    peer: PeerArgument,
    bootstrap: BootstrapOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Send a file to a peer that runs `p2pnode receive`.

    Returns when the file lies on the peer's disk, checked.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.cli.access import open_access
    from p2pnode.cli.requests import errand
    from p2pnode.cli.session import run_session
    from p2pnode.errors import P2PNodeError, ProtocolNotSupported
    from p2pnode.io.applications.file_sender import send_file
    from p2pnode.io.applications.outgoing_file import OutgoingFile
    from p2pnode.protocols.file_transfer import PROTOCOL_ID

    wanted = errand(peer, data, bootstrap, Traces(qlog, key_log))

    async def command(_: "Session") -> int:
        with OutgoingFile(file) as outgoing, ProgressBars() as bars:
            async with open_access(environment, output, wanted) as access:
                try:
                    opened = await access.open_stream(peer, PROTOCOL_ID)
                    bar = bars.add(outgoing.name, outgoing.size)
                    transferred = await send_file(opened.stream, outgoing, bar.update)
                except ProtocolNotSupported as exc:
                    raise P2PNodeError(
                        "the peer does not wait for files; run `p2pnode receive` there and send "
                        "to the address that it prints"
                    ) from exc
                route = await opened.route()
        fields = {
            "event": "sent",
            "file": outgoing.name,
            "bytes": transferred.size,
            "sha256": transferred.sha256,
            "seconds": round(transferred.seconds, 6),
            "path": route.path,
            "peer": opened.peer,
            "via": route.via,
            "transport": route.transport,
            "limited": route.limited,
        }
        summary = transfer_text(transferred.size, transferred.seconds)
        text = f"sent {outgoing.name}: {summary}, {path_text(route.path, route.limited)}"
        output.emit(fields, text, f"sha256 {transferred.sha256}")
        return 0

    return run_session(command)
