"""What the control socket and the command line ask of a node, as plain reports.

Rule: a command gets the same reports whether it asks a running node through its socket or has made
a node of its own, because both come from here.  The swarm is not imported: a command that asks a
running node needs none.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.applications.peer_stream import (
    STREAM_ERRORS,
    NodeStream,
    RouteFacts,
    stream_failure,
)
from p2pnode.io.control.messages import (
    IdentifyReport,
    InfoReport,
    PingReport,
    PingRequest,
    RouteReport,
)
from p2pnode.io.control.status import (
    AddressReport,
    CauseReport,
    ConnectionReport,
    RelayingReport,
    RelayReport,
    ResourceReport,
    StatusReport,
    WhyReport,
)

if TYPE_CHECKING:
    from p2pnode.io.node.status import NodeStatus
    from p2pnode.protocols.identify.info import IdentifyInfo
    from p2pnode.protocols.nat_behaviour.why import Explanation

MAX_LISTED = 1024  # connections, and peers relayed for, in a status; chosen: a relay's reservations
PING_TIMEOUT = 10.0  # seconds until a ping counts as lost; go-libp2p's


class ControlledNode(Protocol):
    """The part of a `Node` that commands use."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def addresses(self) -> Sequence[object]: ...

    async def connect(self, target: str) -> PeerId: ...

    async def open_stream(self, target: str, protocol: str) -> NodeStream: ...

    async def identify(self, target: str) -> "IdentifyInfo": ...

    async def ping(self, target: str) -> float: ...

    def connection_info(self, peer: PeerId) -> RouteFacts: ...

    @property
    def known_peers(self) -> Sequence[PeerId]: ...

    def status(self) -> "NodeStatus": ...

    async def why(self, target: str) -> "Explanation": ...


def info_report(node: ControlledNode) -> InfoReport:
    """Returns who the node is and where it can be dialled."""
    return InfoReport(str(node.peer_id), tuple(str(address) for address in node.addresses))


def route_report(peer: PeerId, facts: RouteFacts) -> RouteReport:
    """Returns which way packets to the peer go now."""
    return RouteReport(
        str(peer), facts.path, str(facts.via), str(facts.transport), facts.is_limited
    )


def status_report(node: ControlledNode) -> StatusReport:
    """Returns what the node knows of itself."""
    status = node.status()
    return StatusReport(
        peer_id=str(status.peer_id),
        reachability=status.reachability.value,
        addresses=tuple(
            AddressReport(str(a.address), a.verdict.value, a.observers) for a in status.addresses
        ),
        relays=tuple(
            RelayReport(str(r.peer_id), round(r.expires_in, 1), round(r.clock_ahead))
            for r in status.relays
        ),
        connections=tuple(
            ConnectionReport(
                str(c.peer_id),
                c.path,
                str(c.via),
                str(c.transport),
                c.is_limited,
                _milliseconds(c.rtt),
                c.streams,
            )
            for c in status.connections[:MAX_LISTED]
        ),
        relaying=tuple(
            RelayingReport(str(r.peer), r.carried, r.circuits) for r in status.relaying[:MAX_LISTED]
        ),
        resources=tuple(
            ResourceReport(r.resource.name.lower(), r.used, r.limit, r.refused)
            for r in status.resources
        ),
        silence=status.silence,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


async def why_report(node: ControlledNode, target: str) -> WhyReport:
    """Connects with the peer, and says why its packets go the way they go.

    Raises AddressError for what is no target.
    """
    found = await node.why(target)
    way: RouteReport | None = None
    if found.path is not None:
        with contextlib.suppress(P2PNodeError):  # it may be lost by now
            way = route_report(found.peer_id, node.connection_info(found.peer_id))
    is_explained = found.side is not None and found.property is not None
    return WhyReport(
        peer=str(found.peer_id),
        path=found.path,
        transport=None if way is None else way.transport,
        limited=None if way is None else way.limited,
        verdict=found.verdict,
        cause=CauseReport(str(found.side), str(found.property)) if is_explained else None,
        attempts=tuple(
            {
                "round": attempt.round,
                "strategy": attempt.strategy,
                "direct": attempt.is_direct,
                "reason": attempt.reason,
            }
            for attempt in found.attempts
        ),
    )


async def identify_report(node: ControlledNode, target: str) -> IdentifyReport:
    """Asks the peer.  Raises P2PNodeError."""
    info = await node.identify(target)
    return IdentifyReport(
        peer_id=str(info.peer_id),
        observed_addr=None if info.observed_addr is None else str(info.observed_addr),
        listen_addrs=tuple(str(address) for address in info.listen_addrs),
        protocols=info.protocols,
        agent_version=info.agent_version,
        protocol_version=info.protocol_version,
    )


async def ping_reports(
    node: ControlledNode, request: PingRequest
) -> AsyncGenerator[PingReport, None]:
    """Yields a report for each ping, lost ones too.

    Raises P2PNodeError only where the peer cannot be reached to begin with.
    """
    peer = await node.connect(request.target)
    route = route_report(peer, node.connection_info(peer))
    seq = 0
    while True:
        seq += 1
        started = trio.current_time()
        rtt, loss = await _ping_once(node, request.target)
        # Where the connection is lost, the ping went the way that was known last.
        with contextlib.suppress(P2PNodeError):
            route = route_report(peer, node.connection_info(peer))
        yield PingReport(
            route.peer, seq, rtt, route.path, route.via, route.transport, route.limited, loss
        )
        if seq == request.count:
            return
        await trio.sleep_until(started + request.interval)


async def _ping_once(node: ControlledNode, target: str) -> tuple[float | None, str]:
    """Returns the round-trip time, or None and why there is none."""
    try:
        with trio.fail_after(PING_TIMEOUT):
            return await node.ping(target), ""
    except trio.TooSlowError:
        return None, f"no answer within {PING_TIMEOUT:.0f} s"
    except STREAM_ERRORS as exc:
        return None, str(stream_failure(exc))
