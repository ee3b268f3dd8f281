"""What services report: does what they ask for, and tells whom it concerns what they found out.

The parts of the swarm that ask services for something have their requests passed on here as well.
"""

from collections.abc import Callable

from p2pnode.clock import Instant
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.identify.address_filter import addrs_to_accept
from p2pnode.protocols.nat_behaviour.why import PunchAttempt
from p2pnode.swarm import events
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.command_runner import CommandRunner
from p2pnode.swarm.connection_reports import ConnectionReports
from p2pnode.swarm.dial_candidates import without_peer
from p2pnode.swarm.dials import Dials
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.own_news import OwnNews
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.swarm.requests import ServiceRequest
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import Service
from p2pnode.swarm.state import SwarmState


class ServiceReports:
    """Joins the parts that have the state; it has none of its own."""

    def __init__(
        self,
        state: SwarmState,
        calls: ServiceCalls,
        requests: list[ServiceRequest],
        commands: CommandRunner,
        dials: Dials,
        relayed_paths: RelayedPaths,
        connection_reports: ConnectionReports,
        news: OwnNews,
        tell: Callable[[SwarmEvent], None],
    ) -> None:
        """`requests` are those to services; `tell` takes what the user shall know."""
        self._state = state
        self._calls = calls
        self._requests = requests
        self._commands = commands
        self._dials = dials
        self._relayed_paths = relayed_paths
        self._connection_reports = connection_reports
        self._news = news
        self._tell = tell

    def run(self, now: Instant) -> bool:
        """Does what services ask for, and what they are asked for, and tells what became of dials.

        Returns whether there was anything.  Asked after every packet.
        """
        dials = self._dials
        if not (self._requests or self._calls.speaking or dials.ended or dials.outcomes):
            return False
        while True:
            if self._requests:
                self._commands.pass_on(self._requests.pop(0), now)
            elif (service := self._calls.next_speaker()) is not None:
                self._take_output(service, now)
            elif dials.ended or dials.outcomes:
                self._collect_dials(now)
            else:
                return True

    def _collect_dials(self, now: Instant) -> None:
        """Takes what became of dials: services' own are theirs, the others the user's."""
        ended, found = self._dials.poll_ended(), self._dials.poll_outcomes()
        for peer_id in ended:
            self._relayed_paths.release_idle(peer_id, now)
        for event in found:
            if isinstance(event, events.DialSucceeded):
                # Where two of its tries were answered at once, the pool has chosen.
                best = self._state.pool.best(event.peer_id)
                event = event if best is None else event._replace(connection=best)
            if isinstance(
                event, events.DialSucceeded | events.DialFailed
            ) and self._commands.is_for_service(event, now):
                continue
            self._tell(event)

    def _take_output(self, service: Service, now: Instant) -> None:
        commands, found = service.poll_commands(), service.poll_events()
        for command in commands:
            self._commands.run(service, command, now)
        for event in found:
            self._on_event(event, now)

    def _on_event(self, event: SwarmEvent, now: Instant) -> None:
        match event:
            case events.PeerIdentified(connection, info):
                peer = self._state.peers.get(connection)
                if peer is not None:
                    self._learn_from(peer, info, now)
                    self._connection_reports.on_identified(peer, info, now)
                    self._calls.identified(peer, info, now)
            case events.PeerFound(peer_id, addresses):
                self._state.book.add(peer_id, addresses, AddressSource.HEARSAY, now)
                self._dials.on_found(peer_id, addresses, now)
            case events.PeerNotFound(peer_id, reason):
                self._dials.on_not_found(peer_id, reason, now)
            case events.ReachabilityChanged(reachability):
                self._news.on_reachability_changed(reachability, now)
            case events.PunchEnded(connection, peer_id, number, strategy, is_direct, reason, _):
                attempt = PunchAttempt(now, number, strategy, is_direct, reason)
                self._state.attempts.add(peer_id, attempt)
                if not is_direct:
                    self._relayed_paths.ask_standby_relay(connection, peer_id, now)
            case _:
                pass
        self._tell(event)

    def _learn_from(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        signed = info.signed_peer_record is not None
        source = AddressSource.SIGNED if signed else AddressSource.IDENTIFY
        accepted = addrs_to_accept(info.listen_addrs, peer.direct_ip)
        self._state.book.add(peer.peer_id, without_peer(accepted), source, now)
