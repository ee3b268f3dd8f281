"""`p2pnode netcheck`: how the NAT in front of this machine behaves."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.options import BootstrapOption, DataOption, JsonOption, VerboseOption

if TYPE_CHECKING:
    from p2pnode.cli.session import Session
    from p2pnode.netcheck.report import NetcheckReport

_LABELS = {
    "mapping": "mapping",
    "filtering": "filtering",
    "port_allocation": "ports",
    "hairpin": "hairpin",
    "binding_lifetime_s": "lifetime",
    "udp": "UDP",
    "tcp": "TCP",
    "external": "seen at",
    "reachability": "reachable",
}
_WIDTH = max(map(len, _LABELS.values())) + 2


def netcheck(
    context: typer.Context,
    bootstrap: BootstrapOption = None,
    lifetime: Annotated[
        bool,
        typer.Option(
            "--lifetime", help="Also measure how long an idle mapping lives: takes minutes."
        ),
    ] = False,
    data: DataOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> int:
    """Find out how the NAT in front of this machine behaves, from peers alone.

    Takes less than 10 seconds, under an identity of its own.  Without --bootstrap it begins with
    the peers of the node that runs here, or those that it remembers.  Some answers take three peers
    on two IP addresses; what could not be measured says why.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.cli.requests import bootstrap_peers
    from p2pnode.cli.session import run_session
    from p2pnode.errors import P2PNodeError
    from p2pnode.io.netcheck import run_netcheck
    from p2pnode.io.netcheck_peers import known_peers

    folder = environment.data_folder(data)
    given = bootstrap_peers(bootstrap)

    async def command(_: "Session") -> int:
        targets = given or await known_peers(folder, environment.control_socket(folder))
        if not targets:
            raise P2PNodeError(
                f"no peer to check with: no node runs on {folder} and none is remembered there, so "
                "give --bootstrap and the address of a peer"
            )
        if lifetime:
            output.note("the lifetime of mappings takes minutes to measure")
        report = await run_netcheck(targets, wants_lifetime=lifetime)
        output.emit(report.fields(), *_lines(report))
        return 0

    return run_session(command)


def _lines(report: "NetcheckReport") -> list[str]:
    fields = report.fields()
    texts = {name: _value(value) for name, value in fields.items() if name in _LABELS}
    texts["external"] = ", ".join(map(str, report.external)) or "nowhere"
    if report.binding_lifetime is not None:
        texts["binding_lifetime_s"] = f"{report.binding_lifetime:g} s"
    if report.tcp is None:
        del texts["tcp"]  # who hears something over UDP needs none
    lines: list[str] = []
    for name, label in _LABELS.items():
        if name not in texts:
            continue
        reason = report.unknown.get(name) or report.why.get(name)
        ending = f": {reason}" if reason else ""
        lines.append(f"{label:<{_WIDTH}}{texts[name]}{ending}")
    return lines


def _value(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
