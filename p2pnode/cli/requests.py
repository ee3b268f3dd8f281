"""What the options of a command come to.

Rule: an address that means nothing is wrong usage, told with the option's name before anything is
begun; whether a peer answers at one that means something shows later.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from p2pnode.cli.access import Errand
from p2pnode.cli.environment import DEFAULT_RELAY, Environment, NodeRequest, RelayRequest, Traces
from p2pnode.cli.limit_options import parse_limits
from p2pnode.errors import AddressError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.dial_target import bootstrap_targets, dial_target


def node_request(
    environment: Environment,
    *,
    data: Path | None,
    listen: Sequence[str] | None,
    bootstrap: Sequence[str] | None,
    traces: Traces,
    relay: RelayRequest = DEFAULT_RELAY,
    limits: Sequence[str] | None = None,
    protect: Sequence[str] | None = None,
) -> NodeRequest:
    """Returns the node that a command is to run.  Raises typer.BadParameter."""
    from p2pnode.io.listen_address import listen_address  # brings the transports along

    return NodeRequest(
        data=environment.data_folder(data),
        listen=_checked("--listen", listen, listen_address) or None,
        bootstrap=bootstrap_peers(bootstrap),
        traces=traces,
        relay=relay,
        limits=parse_limits(limits),
        protect=_checked("--protect", protect, PeerId.parse),
    )


def errand(peer: str, data: Path | None, bootstrap: Sequence[str] | None, traces: Traces) -> Errand:
    """Returns whom a command is to reach, and how.  Raises typer.BadParameter."""
    (peer,) = _checked("PEER", [peer], dial_target)
    return Errand(peer, data, bootstrap_peers(bootstrap), traces)


def bootstrap_peers(texts: Sequence[str] | None, hint: str = "--bootstrap") -> tuple[str, ...]:
    """Returns the peers to begin with.  Raises typer.BadParameter."""
    return _checked(hint, texts, lambda text: bootstrap_targets([text]))


def _checked(
    hint: str, texts: Sequence[str] | None, parse: Callable[[str], object]
) -> tuple[str, ...]:
    """Returns the texts, all of which can be parsed, without blanks around them."""
    for text in texts or ():
        try:
            parse(text)
        except AddressError as exc:
            raise typer.BadParameter(str(exc), param_hint=hint) from exc
    return tuple(text.strip() for text in texts or ())
