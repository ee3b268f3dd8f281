"""`p2pnode relay`: a peer that relays for others, within limits that its owner sets."""

from typing import TYPE_CHECKING

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import CommandNode, RelayRequest, Traces
from p2pnode.cli.limit_options import LimitOption, ProtectOption
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
from p2pnode.cli.relay_options import (
    AllowNetwork,
    AllowPeer,
    CircuitRate,
    CircuitVolume,
    DenyNetwork,
    DenyPeer,
    MaxCircuits,
    MaxCircuitsPerIp,
    MaxCircuitsPerPeer,
    MaxReservations,
    MaxReservationsPerIp,
    MonthlyVolume,
    PeerRate,
    PeerVolume,
    PrintContainerfile,
    PrintUnit,
    TotalRate,
    access_list,
)
from p2pnode.cli.units import size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p2pnode.cli.session import Session
    from p2pnode.protocols.relay import RelayLimits


def relay(
    context: typer.Context,
    max_reservations: MaxReservations = None,
    max_reservations_per_ip: MaxReservationsPerIp = None,
    max_circuits: MaxCircuits = None,
    max_circuits_per_peer: MaxCircuitsPerPeer = None,
    max_circuits_per_ip: MaxCircuitsPerIp = None,
    circuit_rate: CircuitRate = None,
    peer_rate: PeerRate = None,
    total_rate: TotalRate = None,
    circuit_volume: CircuitVolume = None,
    peer_volume: PeerVolume = None,
    monthly_volume: MonthlyVolume = None,
    allow_peer: AllowPeer = None,
    deny_peer: DenyPeer = None,
    allow_network: AllowNetwork = None,
    deny_network: DenyNetwork = None,
    print_unit: PrintUnit = False,
    print_containerfile: PrintContainerfile = False,
    bootstrap: BootstrapOption = None,
    listen: ListenOption = None,
    limit: LimitOption = None,
    protect: ProtectOption = None,
    metrics: MetricsOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Run a peer that relays for others, until Ctrl-C or SIGTERM.

    Strangers should reach it: on a public address, or behind a forwarded port.  Limits that are not
    given are generous ones.  At the end circuits move to other relays, which takes seconds at most;
    a second signal does not wait.  SIZE is in bytes, or with kB, KiB, MB, MiB, GB or GiB.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    from p2pnode.cli.requests import node_request
    from p2pnode.cli.serving import Server, announce_node, best_address, metrics_address
    from p2pnode.cli.session import run_session

    chosen = {
        "max_reservations": max_reservations,
        "max_reservations_per_ip": max_reservations_per_ip,
        "max_circuits": max_circuits,
        "max_circuits_per_peer": max_circuits_per_peer,
        "max_circuits_per_ip": max_circuits_per_ip,
        "circuit_rate": circuit_rate,
        "peer_rate": peer_rate,
        "total_rate": total_rate,
        "circuit_data": circuit_volume,
        "peer_monthly_bytes": peer_volume,
        "monthly_bytes": monthly_volume,
    }
    limits = _generous_but_for(chosen)
    access = access_list(allow_peer, deny_peer, allow_network, deny_network)
    served = metrics_address(metrics)
    request = node_request(
        environment,
        data=data,
        listen=listen,
        bootstrap=bootstrap,
        traces=Traces(qlog, key_log),
        relay=RelayRequest("always", limits, access),
        limits=limit,
        protect=protect,
    )
    if print_unit or print_containerfile:
        from p2pnode.cli.relay_service import print_service

        return print_service(context, output, listen or ())
    server = Server(environment, output, request, served)

    def announce(node: CommandNode) -> None:
        _announce_relay(output, best_address(announce_node(output, node)), limits)

    async def command(session: "Session") -> int:
        return await server.serve(session, announce)

    return run_session(command, serves_others=True)


def _generous_but_for(chosen: "Mapping[str, int | None]") -> "RelayLimits":
    """Returns the generous limits with those that were given."""
    from dataclasses import replace

    from p2pnode.protocols.relay.limits import GENEROUS

    return replace(GENEROUS, **{name: n for name, n in chosen.items() if n is not None})


def _announce_relay(output: Output, address: str, limits: "RelayLimits") -> None:
    told = {
        "reservations": limits.max_reservations,
        "circuits": limits.max_circuits,
        "circuit_rate": limits.circuit_rate,
        "peer_rate": limits.peer_rate,
        "total_rate": limits.total_rate,
        "peer_monthly_bytes": limits.peer_monthly_bytes,
        "monthly_bytes": limits.monthly_bytes,
    }
    limits_text = (
        f"relaying   for {limits.max_reservations} peers, {limits.max_circuits} circuits; "
        f"{_rate(limits.circuit_rate)} a circuit, {_rate(limits.total_rate)} in all, "
        f"{size_text(limits.monthly_bytes) if limits.monthly_bytes else 'any volume'} a month"
    )
    output.emit(
        {"event": "relaying", "address": address, "limits": told},
        limits_text,
        "Others use it, and are found by it, with",
        f"  p2pnode run --bootstrap {address}",
    )


def _rate(rate: int) -> str:
    return f"{size_text(rate)}/s" if rate else "any rate"
