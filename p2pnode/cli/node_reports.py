"""The node's events in the words of `p2pnode run`.

Rule: as many lines for a person, whatever peers say, and an object for a script with the keys that
issue and specs promise.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from p2pnode.cli.node_report import NodeReport
from p2pnode.cli.units import clock_text, path_text
from p2pnode.escape import said
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import circuit_addr
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.node.events import (
    AddressObserved,
    BootstrapFailed,
    ClockSkewChanged,
    EventsDropped,
    ListenAddressesChanged,
    NodeEvent,
    PathChanged,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
    PunchEnded,
    ReachabilityChanged,
    ReservationsChanged,
)
from p2pnode.protocols.autonat import Reachability, Verdict
from p2pnode.protocols.identify import Disposition
from p2pnode.wire.multiaddr import Multiaddr


class Reporter:
    """Makes reports of one node's events."""

    def __init__(self) -> None:
        self._through: dict[PeerId, tuple[str, ...]] = {}
        """Our addresses through each relay, as last reported."""
        self._listening: list[str] | None = None

    def reports_of(self, event: NodeEvent) -> list[NodeReport]:
        """Returns what to print."""
        match event:
            case PeerConnected():
                return [_connected(event)]
            case PeerDisconnected(peer_id, reason):
                fields = {"peer": str(peer_id), "reason": str(reason)}
                return [_report("disconnected", fields, f"lost       {peer_id}: {reason}")]
            case PeerIdentified():
                return [_identified(event)]
            case AddressObserved():
                return [_observed(event)]
            case PathChanged():
                return [_path_changed(event)]
            case ListenAddressesChanged():
                addresses = [str(address) for address in event.addresses]
                if addresses == self._listening:
                    return []
                self._listening = addresses
                lines = [f"listening  {a}" for a in addresses] or ["listening  nowhere"]
                return [_report("addresses", {"addresses": addresses}, *lines)]
            case ReachabilityChanged(reachability, verdicts):
                return [_reachability(reachability, verdicts)]
            case ReservationsChanged():
                return self._reservations(event)
            case ClockSkewChanged():
                return [_clock(event)]
            case PunchEnded():
                return [_punch(event)]
            case BootstrapFailed(target, reason, retry_in):
                fields = {"address": target, "reason": reason}
                text = f"no connection to {target}: {reason}; trying again in {retry_in:.0f} s"
                return [_report("dial_failed", fields, text)]
            case EventsDropped(dropped):
                text = (
                    f"{dropped} events are not shown: they came faster than they could be printed"
                )
                return [_report("dropped", {"count": dropped}, text)]
            case _:
                assert_never(event)

    def _reservations(self, event: ReservationsChanged) -> list[NodeReport]:
        """Returns a report for each relay that is new, that is found elsewhere, or that is lost."""
        through: dict[PeerId, tuple[str, ...]] = dict.fromkeys(event.relays, ())
        for address in event.addresses:
            circuit = circuit_addr(address)
            if circuit is not None:
                through[circuit.relay] = (*through.get(circuit.relay, ()), str(address))
        lost: dict[PeerId, tuple[str, ...]] = {r: () for r in self._through if r not in through}
        changed = {r: a for r, a in through.items() if self._through.get(r) != a}
        self._through = through
        return [_reservation(*entry) for entry in (lost | changed).items()]


def _report(event: str, fields: dict[str, Any], *lines: str) -> NodeReport:
    return NodeReport(event, fields, lines)


def _connected(event: PeerConnected) -> NodeReport:
    direction = "outbound" if event.is_initiator else "inbound"
    fields = {
        "peer": str(event.peer_id),
        "path": event.path,
        "via": str(event.via),
        "transport": str(event.transport),
        "limited": event.is_limited,
        "direction": direction,
    }
    path = path_text(event.path, event.is_limited)
    text = f"connected  {event.peer_id} via {event.via}, {direction}, {path}"
    return _report("connected", fields, text)


def _path_changed(event: PathChanged) -> NodeReport:
    fields = {
        "peer": str(event.peer_id),
        "path": event.path,
        "via": str(event.via),
        "transport": str(event.transport),
        "limited": event.is_limited,
        "reason": event.reason,
    }
    path = path_text(event.path, event.is_limited)
    text = f"path       {event.peer_id} is {path} via {event.via} now: {event.reason}"
    return _report("path", fields, text)


def _identified(event: PeerIdentified) -> NodeReport:
    info = event.info
    fields = {
        "peer": str(info.peer_id),
        "agent_version": info.agent_version,
        "protocol_version": info.protocol_version,
        "listen_addrs": [str(address) for address in info.listen_addrs],
        "protocols": list(info.protocols),
    }
    agent = said(info.agent_version) or "no name"
    return _report("identified", fields, f"identified {info.peer_id} as {agent}")


def _observed(event: AddressObserved) -> NodeReport:
    """How sure we are of an address that a peer sees us at: "2 of 4 observers so far"."""
    parts = transport_addr(event.address)
    at = None if parts is None else parts.socket_addr
    seen = next((a for a in event.report.addresses if a.address == at), None)
    if event.disposition is Disposition.COUNTED and seen is not None:
        verdict = seen.progress
    else:
        verdict = f"does not count: {event.disposition.value}"
    fields = {
        "peer": str(event.observer),
        "addr": str(event.address),
        "observers": 0 if seen is None else seen.observers,
        "confirmed": seen is not None and seen.is_confirmed,
        "verdict": verdict,
        "mapping": event.report.mapping.value,
    }
    text = f"seen at    {event.address} by {event.observer}: {verdict}"
    return _report("observed_address", fields, text)


def _reachability(
    reachability: Reachability, verdicts: Sequence[tuple[Multiaddr, Verdict]]
) -> NodeReport:
    """The verdict on the node, with what is known of each of its addresses."""
    evidence = [_evidence(address, verdict) for address, verdict in verdicts]
    whys = [f"{v.why} ({a})" for a, v in verdicts if v.reachability is reachability]
    text = f"reachable  {reachability.value}: {whys[0] if whys else 'nobody has tried yet'}"
    fields = {"verdict": reachability.value, "evidence": evidence}
    return _report("reachability", fields, text)


def _evidence(address: Multiaddr, verdict: Verdict) -> dict[str, Any]:
    return {
        "addr": str(address),
        "verdict": verdict.reachability.value,
        "confidence": verdict.confidence,
        "why": verdict.why,
        "probes": [
            {
                "heard": piece.is_heard,
                "prober": piece.prober.value,
                "witness": piece.witness,
                "server": piece.server,
                "detail": piece.detail,
            }
            for piece in verdict.evidence
        ],
    }


def _reservation(relay: PeerId, addresses: tuple[str, ...]) -> NodeReport:
    fields = {"relay": str(relay), "addresses": list(addresses)}
    lines = [f"relayed    at {address}" for address in addresses]
    return _report("reservation", fields, *(lines or [f"relayed    no longer by {relay}"]))


def _clock(event: ClockSkewChanged) -> NodeReport:
    fields = {"relay": str(event.relay), "ahead_s": round(event.ahead)}
    text = f"clock      the clock of relay {event.relay} is {clock_text(event.ahead)}"
    if not event.ahead:
        text = f"clock      the clock of relay {event.relay} agrees with ours again"
    return _report("clock_skew", fields, text)


def _punch(event: PunchEnded) -> NodeReport:
    fields = {
        "peer": str(event.peer_id),
        "round": event.round,
        "strategy": event.strategy,
        "direct": event.is_direct,
        "reason": event.reason,
    }
    outcome = "a direct path is open" if event.is_direct else event.reason
    text = f"punch      {event.peer_id}, round {event.round} ({event.strategy}): {outcome}"
    return _report("punch", fields, text)
