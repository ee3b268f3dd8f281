"""The node's events in the words of `p2pnode run`."""

from typing import assert_never

from p2pnode.cli.escape import shorten
from p2pnode.cli.node_report import NodeReport
from p2pnode.identity.peer_multiaddr import udp_noise_multiaddr
from p2pnode.io.node_events import (
    AddressObserved,
    EventsDropped,
    ListenAddressesChanged,
    NodeEvent,
    PathChanged,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
)
from p2pnode.protocols.identify import Disposition


def report_of(event: NodeEvent) -> NodeReport:
    """Returns what to print."""
    match event:
        case PeerConnected():
            return _connected(event)
        case PeerDisconnected(peer_id, reason):
            fields = {"peer": str(peer_id), "reason": str(reason)}
            return NodeReport("disconnected", fields, f"lost       {peer_id}: {reason}")
        case PeerIdentified():
            return _identified(event)
        case AddressObserved():
            return _observed(event)
        case PathChanged():
            return _path_changed(event)
        case ListenAddressesChanged():
            addresses = [str(address) for address in event.addresses]
            text = "\n".join(f"listening  {a}" for a in addresses) or "listening  nowhere"
            return NodeReport("addresses", {"addresses": addresses}, text)
        case EventsDropped(dropped):
            text = f"{dropped} events are not shown: they came faster than they could be printed"
            return NodeReport("dropped", {"count": dropped}, text)
        case _:
            assert_never(event)


def _connected(event: PeerConnected) -> NodeReport:
    direction = "outbound" if event.is_initiator else "inbound"
    fields = {
        "peer": str(event.peer_id),
        "path": event.path,
        "via": str(event.via),
        "direction": direction,
    }
    text = f"connected  {event.peer_id} via {event.via}, {direction}, {event.path}"
    return NodeReport("connected", fields, text)


def _path_changed(event: PathChanged) -> NodeReport:
    fields = {
        "peer": str(event.peer_id),
        "path": event.path,
        "via": str(event.via),
        "reason": event.reason,
    }
    text = f"path       {event.peer_id} is {event.path} via {event.via} now: {event.reason}"
    return NodeReport("path", fields, text)


def _identified(event: PeerIdentified) -> NodeReport:
    info = event.info
    fields = {
        "peer": str(info.peer_id),
        "agent_version": info.agent_version,
        "protocol_version": info.protocol_version,
        "listen_addrs": [str(address) for address in info.listen_addrs],
        "protocols": list(info.protocols),
    }
    # One line, whatever the peer says: a break in it would pass for another line of ours.
    agent = " ".join(shorten(info.agent_version).splitlines()) or "no name"
    return NodeReport("identified", fields, f"identified {info.peer_id} as {agent}")


def _observed(event: AddressObserved) -> NodeReport:
    """How sure we are of an address that a peer sees us at: "2 of 4 observers so far"."""
    seen = next(
        (a for a in event.report.addresses if udp_noise_multiaddr(a.address) == event.address), None
    )
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
    return NodeReport("observed_address", fields, text)
