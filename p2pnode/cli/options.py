"""The options that several commands have, each described once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DataOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="P2PNODE_DATA",
        metavar="DIR",
        help="Folder with the node's key and state.  [default: the platform's data folder]",
        show_default=False,
        file_okay=False,
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line on stdout, nothing else.")
]
VerboseOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Log to stderr; twice for more.", show_default=False
    ),
]
QlogOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--qlog",
        envvar="P2PNODE_QLOG",
        metavar="DIR",
        help="Write a qlog file a connection into this folder.",
        show_default=False,
        file_okay=False,
    ),
]
KeyLogOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--key-log",
        envvar="P2PNODE_KEYLOG",
        metavar="FILE",
        help="Append the keys of connections to this file; whoever has it can decrypt a capture.",
        show_default=False,
        dir_okay=False,
    ),
]
ListenOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--listen",
        metavar="MULTIADDR",
        help="Address to listen on, such as /ip4/0.0.0.0/udp/0/noise or /ip4/0.0.0.0/tcp/4001; may "
        "be repeated, port 0 means any.  [default: all interfaces, IPv4 and IPv6, over UDP and TCP "
        "on a port that is remembered]",
        show_default=False,
    ),
]
BootstrapOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--bootstrap",
        metavar="MULTIADDR",
        help="A peer to begin with: to be seen, relayed for and found by; may be repeated.",
        show_default=False,
    ),
]
MetricsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="ADDR",
        help="Serve Prometheus metrics over HTTP at this address, such as 127.0.0.1:9464.",
        show_default=False,
    ),
]
PeerArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="PEER",
        help="A full multiaddr or, with --bootstrap or a running node, a bare peer id.",
        show_default=False,
    ),
]
