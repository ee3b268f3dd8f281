"""What a relay's owner may set: the flags of `p2pnode relay`, and what they mean.

SIZE is a number of bytes, with a unit or without.
"""

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from p2pnode.cli.units import parse_size
from p2pnode.errors import AddressError

if TYPE_CHECKING:
    from p2pnode.identity.peer_id import PeerId
    from p2pnode.protocols.relay import AccessList


def _parse_size(text: str) -> int:
    size = parse_size(text)
    if size is None:
        raise typer.BadParameter(f"{text!r} is no size; one looks like 512KiB, 10MB or 0")
    return size


def _count(name: str, text: str) -> object:
    return typer.Option(name, min=0, metavar="N", help=text, show_default=False)


def _size(name: str, text: str) -> object:
    return typer.Option(name, parser=_parse_size, metavar="SIZE", help=text, show_default=False)


def _texts(name: str, metavar: str, text: str) -> object:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


MaxReservations: TypeAlias = Annotated[
    int | None, _count("--max-reservations", "Peers that can be reached through this one.")
]
MaxReservationsPerIp: TypeAlias = Annotated[
    int | None, _count("--max-reservations-per-ip", "Of one IPv4 address or IPv6 /56.")
]
MaxCircuits: TypeAlias = Annotated[
    int | None, _count("--max-circuits", "Circuits between two peers at a time.")
]
MaxCircuitsPerPeer: TypeAlias = Annotated[
    int | None, _count("--max-circuits-per-peer", "Of one peer, at either end.")
]
MaxCircuitsPerIp: TypeAlias = Annotated[
    int | None, _count("--max-circuits-per-ip", "Of one IPv4 address or IPv6 /56.")
]
CircuitRate: TypeAlias = Annotated[
    int | None, _size("--circuit-rate", "A second, of one circuit; 0: no limit.")
]
PeerRate: TypeAlias = Annotated[
    int | None, _size("--peer-rate", "A second, of all of one peer's circuits; 0: no limit.")
]
TotalRate: TypeAlias = Annotated[
    int | None, _size("--total-rate", "A second, of all circuits; 0: no limit.")
]
CircuitVolume: TypeAlias = Annotated[
    int | None, _size("--circuit-volume", "Of one circuit, each way; 0: no limit.")
]
MonthlyVolume: TypeAlias = Annotated[
    int | None, _size("--monthly-volume", "Of all circuits, in a calendar month; 0: no limit.")
]
PeerVolume: TypeAlias = Annotated[
    int | None,
    _size("--peer-volume", "Of all circuits of one peer, in a calendar month; 0: no limit."),
]
AllowPeer: TypeAlias = Annotated[
    list[str] | None,
    _texts("--allow-peer", "ID", "Serve this peer, and nobody who is not allowed; repeatable."),
]
DenyPeer: TypeAlias = Annotated[
    list[str] | None, _texts("--deny-peer", "ID", "Do not serve this peer; repeatable.")
]
AllowNetwork: TypeAlias = Annotated[
    list[str] | None,
    _texts(
        "--allow-network", "CIDR", "Serve this network, and nobody who is not allowed; repeatable."
    ),
]
DenyNetwork: TypeAlias = Annotated[
    list[str] | None, _texts("--deny-network", "CIDR", "Do not serve this network; repeatable.")
]
PrintUnit: TypeAlias = Annotated[
    bool,
    typer.Option("--print-unit", help="Print a systemd unit that runs this command, and exit."),
]
PrintContainerfile: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--print-containerfile", help="Print a container's recipe for this command, and exit."
    ),
]


def access_list(
    allow_peer: list[str] | None,
    deny_peer: list[str] | None,
    allow_network: list[str] | None,
    deny_network: list[str] | None,
) -> "AccessList":
    """Returns who may use the relay; what is no id or no network is wrong usage."""
    from p2pnode.protocols.relay import AccessList

    return AccessList(
        allow_peers=_peers("--allow-peer", allow_peer),
        deny_peers=_peers("--deny-peer", deny_peer),
        allow_networks=_networks("--allow-network", allow_network),
        deny_networks=_networks("--deny-network", deny_network),
    )


def _peers(flag: str, texts: list[str] | None) -> "frozenset[PeerId]":
    from p2pnode.identity.peer_id import PeerId

    try:
        return frozenset(PeerId.parse(text) for text in texts or ())
    except AddressError as exc:
        raise typer.BadParameter(str(exc), param_hint=flag) from exc


def _networks(flag: str, texts: list[str] | None) -> tuple[str, ...]:
    import ipaddress

    for text in texts or ():
        try:
            ipaddress.ip_network(text.strip())
        except ValueError as exc:
            raise typer.BadParameter(str(exc), param_hint=flag) from exc
    return tuple(text.strip() for text in texts or ())
