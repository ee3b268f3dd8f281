"""A handler of streams for `SimNode.serve`."""

from p2pnode.swarm.swarm_stream import SwarmStream


def echo(stream: SwarmStream, data: bytes, is_end: bool) -> None:
    """Sends everything back."""
    if data:
        assert stream.write(data) == len(data)
    if is_end:
        stream.finish()
