"""`p2pnode id`: who this node is."""

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.options import DataOption, JsonOption, VerboseOption


def show_id(
    context: typer.Context,
    data: DataOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> int:
    """Print this node's peer id; makes its key where there is none yet."""
    environment, output = begin(context, is_json=json, verbose=verbose)
    peer_id = environment.peer_id(environment.data_folder(data))
    output.emit({"peer_id": peer_id}, peer_id)
    return 0
