"""Relays as their user sees them: reservations to be reached by, and circuits to reach others by.

    reservations   `AutoRelay` decides, the dialogues are run here
    circuits       `request` asks a relay for one; what relays offer on behalf of others is taken

Rules: a relay is always reached directly, never through another relay; a circuit is taken only
from a relay that we hold a reservation with; a stream's end is its circuit's end.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from random import Random
from typing import Final

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import with_peer_id
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols import relay
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.identify.address_filter import addrs_to_accept
from p2pnode.protocols.relay import (
    AutoRelay,
    Believed,
    CircuitEnded,
    CircuitEnding,
    CircuitOffered,
    CircuitReady,
    CircuitRequester,
    CircuitResponder,
    NotReserved,
    RelayClocks,
    ReservationRequester,
    Reserved,
    Status,
    auto_relay,
    circuit_addrs,
    relay_network,
)
from p2pnode.protocols.relay.circuit_messages import CIRCUIT_ID_SIZE
from p2pnode.protocols.relay.relay_clocks import CLOCK_SLACK
from p2pnode.swarm import events
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import (
    CircuitFailed,
    DialPeer,
    DropCircuit,
    FindPeers,
    OpenStream,
    ProbePath,
    PumpMachine,
    Readvertise,
    ReplaceCircuit,
    Service,
    UseCircuit,
)
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr

RELEASE_DELAY: Final = 60.0
"""seconds for which reservations are kept though strangers reach us; chosen: longer than what
others have heard of us waits to be used"""
MAX_OFFERED: Final = 256
"""circuits that others may have with us through one relay; chosen: what its streams allow"""
MAX_RELAY_ADDRS: Final = 8
"""addresses of one relay that we tell: what it names, others will dial; chosen: four of each IP"""
MAX_ASKED: Final = 256
"""circuits of ours at a time, asked for or open; chosen: as many peers as are dialled at a time"""


class _End:
    """Our end of a circuit, or of one to be."""

    __slots__ = ("connection", "is_asker", "peer_id", "relay", "route")

    def __init__(
        self,
        connection: ConnectionHandle,
        relay_id: PeerId,
        peer_id: PeerId | None,
        *,
        is_asker: bool,
    ) -> None:
        self.connection = connection
        self.relay = relay_id
        self.peer_id = peer_id
        self.is_asker = is_asker
        self.route: Route | None = None


class RelayClient(Service):
    """A Service; `request`, `release` and `set_needs_relay` are its commands."""

    inbound: Mapping[str, InboundLimit] = {
        relay.CIRCUIT_STOP_PROTOCOL_ID: InboundLimit(MAX_OFFERED)
    }

    def __init__(
        self,
        facts: ServiceFacts,
        circuits: Circuits,
        own_id: PeerId,
        *,
        rng: Random,
        entropy: Entropy,
        now: Instant,
        unix_now: UnixTime,
    ) -> None:
        super().__init__()
        self._facts = facts
        self._circuits = circuits
        self._own_id = own_id
        self._entropy = entropy
        self._clocks = RelayClocks(now=now, unix_now=unix_now)
        self._release_at: Instant | None = None
        """When reservations that are not needed are let go; infinite once they are."""
        self._policy = AutoRelay(rng)
        self._policy.set_needs_relay(True, now)
        self._reserving: dict[PeerId, ConnectionHandle] = {}
        """relay -> connection that its reservation is asked for on"""
        self._awaited: dict[PeerId, None] = {}
        """relays that are dialled for a reservation"""
        self._renewing: dict[PeerId, None] = {}
        """relays whose reservation went with its connection, and is asked for on another one"""
        self._reserved: dict[PeerId, tuple[Instant, tuple[Multiaddr, ...]]] = {}
        """relay -> (end of the reservation, our addresses through it)"""
        self._heard: dict[PeerId, Instant | None] = {}
        """relay -> when something came from it last, as far as the policy was told"""
        self._ends: dict[StreamMachine, _End] = {}
        self.granted = 0
        """Reservations that were not renewals."""
        self.answers = Counter[tuple[bool, int | None]]()
        """By whether it was a renewal, and the relay's status, None where it gave none."""
        self._told = events.ReservationsChanged((), ())
        self._waiting: dict[PeerId, list[PeerId]] = {}
        """relays that are dialled -> peers to be reached through them"""

    # facts

    def reservations(self) -> tuple[tuple[PeerId, Instant], ...]:
        """Returns the relays that hold a reservation for us, the best first, with its end."""
        return tuple((r, self._reserved[r][0]) for r in self._policy.relays if r in self._reserved)

    def uses(self, relay_id: PeerId) -> bool:
        """Whether we have a reservation or a circuit with a relay."""
        return relay_id in self._reserved or any(
            end.relay == relay_id for end in self._ends.values()
        )

    def clock_skew(self, relay_id: PeerId) -> float:
        """Returns the seconds that a relay's wall clock is ahead of ours, as far as is known."""
        return self._clocks.ahead(relay_id)

    def addresses(self) -> tuple[Multiaddr, ...]:
        """Returns our addresses through relays, /p2p/<us> at the end."""
        found = [
            a for r in self._policy.relays if r in self._reserved for a in self._reserved[r][1]
        ]
        return tuple(dict.fromkeys(found))

    def relay_of(self, route: Route) -> PeerId | None:
        """Returns the relay of a circuit that stands."""
        return next((end.relay for end in self._ends.values() if end.route == route), None)

    # commands

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """Our wall clock was set; what is reserved lasts as long as before."""
        self._clocks.handle_clock_changed(unix_now, now)

    def set_needs_relay(self, needs_relay: bool, now: Instant) -> None:
        """False once strangers reach us directly: reservations are let go, in a while.

        Who has just learned of an address through a relay may be about to use it.
        """
        if needs_relay:
            self._release_at = None
            self._policy.set_needs_relay(True, now)
            self._carry_out(now)
        elif self._release_at is None:
            self._release_at = now + (RELEASE_DELAY if self._reserved else 0.0)
            self._release_if_due(now)

    def _release_if_due(self, now: Instant) -> None:
        if self._release_at is not None and now >= self._release_at:
            self._release_at = inf
            self._policy.set_needs_relay(False, now)
            self._carry_out(now)

    def remember(self, relay_id: PeerId, network: str, rtt: float | None, now: Instant) -> None:
        """Names a relay of an earlier run: it is asked again where relays are short."""
        self._policy.add_candidate(relay_id, network, rtt, now)
        self._carry_out(now)

    def request(
        self, peer_id: PeerId, relay_id: PeerId, addresses: Sequence[Multiaddr], now: Instant
    ) -> None:
        """Asks a relay for a circuit; UseCircuit or CircuitFailed follows.

        Does nothing where that circuit is asked for already; one that stands is used again.
        """
        asked = [end for m, end in self._ends.items() if end.is_asker and not m.is_done]
        for end in asked:
            if end.peer_id == peer_id and end.relay == relay_id:
                if end.route is not None:
                    self._command(UseCircuit(end.route, peer_id, is_asker=True))
                return
        if peer_id in self._waiting.get(relay_id, []):
            return
        if len(asked) >= MAX_ASKED or len(self._waiting) >= MAX_ASKED:
            self._command(CircuitFailed(peer_id, relay_id, "too many circuits"))
            return
        connection = self._facts.direct(relay_id)
        if connection is not None:
            self._ask(connection, peer_id, relay_id, now)
            return
        self._waiting.setdefault(relay_id, []).append(peer_id)
        self._command(DialPeer(relay_id, tuple(addresses)))

    def circuits_to(self, peer_id: PeerId) -> tuple[Route, ...]:
        """Returns the circuits that we asked for and that stand."""
        return tuple(
            end.route
            for end in self._ends.values()
            if end.is_asker and end.peer_id == peer_id and end.route is not None
        )

    def release(self, route: Route, now: Instant) -> None:
        """Gives a circuit back that nobody uses."""
        for machine, end in self._ends.items():
            if end.route == route and isinstance(machine, CircuitRequester | CircuitResponder):
                machine.close()
                self._command(PumpMachine(end.connection, machine))

    # hooks

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        if peer.peer_id not in self._reserved or peer.route.is_relayed or not peer.is_over_udp:
            return None
        machine = CircuitResponder(now)
        self._ends[machine] = _End(peer.connection, peer.peer_id, None, is_asker=False)
        return machine

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        match machine:
            case ReservationRequester():
                self._on_reservation(connection, machine, now)
            case CircuitRequester() | CircuitResponder():
                self._on_circuit(connection, machine, now)
            case _:
                pass

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, ReservationRequester):
            relay_id = next((r for r, c in self._reserving.items() if c == connection), None)
            if relay_id is not None:
                del self._reserving[relay_id]
                self._on_not_reserved(relay_id, now)
                self._carry_out(now)
            return
        end = self._ends.pop(machine, None)
        if end is not None:
            self._on_ended(end, reason)

    def on_connected(self, peer: Peer, now: Instant) -> None:
        self._on_direct(peer, now)

    def on_path_changed(self, peer: Peer, now: Instant) -> None:
        self._on_direct(peer, now)

    def _on_direct(self, peer: Peer, now: Instant) -> None:
        if peer.route.is_relayed:
            return
        if self._awaited.pop(peer.peer_id, 0) is None:
            self._reserve(peer.connection, peer.peer_id, now)
        for wanted in self._waiting.pop(peer.peer_id, []):
            self._ask(peer.connection, wanted, peer.peer_id, now)
        self._policy.handle_connected(peer.peer_id, now)
        self._carry_out(now)

    def on_connect_failed(self, peer_id: PeerId, reason: str, now: Instant) -> None:
        if self._awaited.pop(peer_id, 0) is None:
            self._policy.handle_failed(peer_id, now)
            self._carry_out(now)
        for wanted in self._waiting.pop(peer_id, []):
            self._command(CircuitFailed(wanted, peer_id, f"the relay cannot be reached: {reason}"))

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        was_asked = self._reserving.get(peer.peer_id) == peer.connection
        if was_asked:
            del self._reserving[peer.peer_id]
        if peer.peer_id not in self._reserved:
            if was_asked:
                self._policy.handle_failed(peer.peer_id, now)
                self._carry_out(now)
            return
        other = self._facts.direct(peer.peer_id)
        if other is not None:  # the relay keeps a reservation by connection: say it anew
            self._renewing[peer.peer_id] = None
            self._reserve(other, peer.peer_id, now)
            return
        self._renewing.pop(peer.peer_id, None)
        self._policy.handle_lost(peer.peer_id, now)
        self._carry_out(now)

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        if peer.route.is_relayed or relay.HOP_PROTOCOL_ID not in info.protocols:
            return
        network = relay_network(peer.route.remote.ip)
        rtt = self._facts.rtt(peer.connection)
        self._clocks.note_record(peer.peer_id, info.record_seq, now)
        self._policy.add_candidate(peer.peer_id, network, rtt, now)
        self._carry_out(now)

    def handle_timeout(self, now: Instant) -> None:
        heard = {relay_id: self._last_received(relay_id) for relay_id in self._policy.relays}
        for relay_id, at in heard.items():
            # What was told already is no new sign of life.
            if at is not None and at != self._heard.get(relay_id):
                self._policy.handle_alive(relay_id, at)
        self._heard = heard
        self._release_if_due(now)
        self._policy.handle_timeout(now)
        self._carry_out(now)

    def poll_timeout(self) -> Deadline | None:
        release = self._release_at
        return earliest(
            self._policy.poll_timeout(),
            None if release is None or release == inf else Deadline(release, "relays are let go"),
        )

    # reservations

    def _last_received(self, relay_id: PeerId) -> Instant | None:
        connection = self._facts.direct(relay_id)
        return None if connection is None else self._facts.last_received(connection)

    def _carry_out(self, now: Instant) -> None:
        for command in self._policy.poll_commands():
            match command:
                case auto_relay.Reserve(relay_id):
                    connection = self._facts.direct(relay_id)
                    if connection is not None:
                        self._reserve(connection, relay_id, now)
                    else:
                        self._awaited[relay_id] = None
                        self._command(DialPeer(relay_id))
                case auto_relay.Release(relay_id):
                    self._reserved.pop(relay_id, None)
                case auto_relay.ProbeRelay(relay_id):
                    connection = self._facts.direct(relay_id)
                    if connection is not None:
                        self._command(ProbePath(connection))
                case auto_relay.FindCandidates():
                    self._command(FindPeers())
                case auto_relay.Advertise(relays):
                    self._reserved = {r: v for r, v in self._reserved.items() if r in relays}
                    self._tell()

    def _reserve(self, connection: ConnectionHandle, relay_id: PeerId, now: Instant) -> None:
        if relay_id in self._reserving:
            return
        self._reserving[relay_id] = connection
        machine = ReservationRequester(relay_id, self._own_id, now=now)
        self._command(OpenStream(connection, relay.HOP_PROTOCOL_ID, machine))

    def _on_reservation(
        self, connection: ConnectionHandle, machine: ReservationRequester, now: Instant
    ) -> None:
        peer = self._facts.peer(connection)
        if machine.outcome is None or peer is None:
            return
        if self._reserving.pop(peer.peer_id, None) is None:
            return
        is_renewal = peer.peer_id in self._reserved
        match machine.outcome:
            case Reserved(expire, addrs):
                lifetime, is_certain = self._judge(peer.peer_id, expire, now)
                self.answers[is_renewal, Status.OK] += 1
                self.granted += not is_renewal
                # Where we reach the relay, others do, whatever it believes of its addresses.
                ours = with_peer_id(peer.address, peer.peer_id)
                believed = addrs_to_accept(addrs, peer.route.remote.ip)
                known = tuple(dict.fromkeys((ours, *believed)))[:MAX_RELAY_ADDRS]
                through = circuit_addrs(known, self._own_id)
                self._renewing.pop(peer.peer_id, None)
                changed = self._reserved.get(peer.peer_id, (0.0, ()))[1] != through
                self._reserved[peer.peer_id] = now + lifetime, through
                self._policy.handle_granted(peer.peer_id, lifetime, now, is_certain=is_certain)
                if changed and peer.peer_id in self._policy.relays:
                    self._tell()
            case NotReserved(status):
                self.answers[is_renewal, status] += 1
                self._on_not_reserved(peer.peer_id, now, has_refused=status is not None)
        self._carry_out(now)

    def _judge(self, relay_id: PeerId, expire: int, now: Instant) -> Believed:
        before = self._clocks.ahead(relay_id)
        believed = self._clocks.judge(relay_id, expire, now)
        ahead = self._clocks.ahead(relay_id)
        if abs(ahead - before) > CLOCK_SLACK:
            self._announce(events.ClockSkewChanged(relay_id, ahead))
        return believed

    def _on_not_reserved(
        self, relay_id: PeerId, now: Instant, *, has_refused: bool = False
    ) -> None:
        if self._renewing.pop(relay_id, 0) is None:
            self._policy.handle_lost(relay_id, now)
        else:
            self._policy.handle_failed(relay_id, now, has_refused=has_refused)

    def _tell(self) -> None:
        relays = tuple(r for r in self._policy.relays if r in self._reserved)
        told = events.ReservationsChanged(relays, self.addresses())
        if told != self._told:
            self._told = told
            self._announce(told)
            self._command(Readvertise())

    # circuits

    def _ask(
        self, connection: ConnectionHandle, peer_id: PeerId, relay_id: PeerId, now: Instant
    ) -> None:
        peer = self._facts.peer(connection)
        if peer is not None and not peer.is_over_udp:
            reason = "the relay is reached over TCP, and its circuits are for datagrams"
            self._command(CircuitFailed(peer_id, relay_id, reason))
            return
        machine = CircuitRequester(peer_id, self._entropy(CIRCUIT_ID_SIZE), now)
        self._ends[machine] = _End(connection, relay_id, peer_id, is_asker=True)
        self._command(OpenStream(connection, relay.CIRCUIT_HOP_PROTOCOL_ID, machine))

    def _on_circuit(
        self,
        connection: ConnectionHandle,
        machine: CircuitRequester | CircuitResponder,
        now: Instant,
    ) -> None:
        end = self._ends.get(machine)
        if end is None:
            return
        while found := machine.poll_events():
            for event in found:
                match event:
                    case CircuitOffered(peer_id):
                        self._answer(end, machine, peer_id, now)
                    case CircuitReady(send_id, receive_id):
                        self._on_ready(end, machine, send_id, receive_id)
                    case CircuitEnding():
                        if end.route is not None and end.peer_id is not None:
                            self._command(ReplaceCircuit(end.route, end.peer_id, end.relay))
                    case CircuitEnded(_, reason):
                        self._ends.pop(machine, None)
                        self._on_ended(end, reason)

    def _answer(
        self, end: _End, machine: CircuitRequester | CircuitResponder, peer_id: PeerId, now: Instant
    ) -> None:
        assert isinstance(machine, CircuitResponder)
        end.peer_id = peer_id
        if peer_id == self._own_id:
            machine.refuse(Status.PERMISSION_DENIED)
        else:
            machine.accept(self._entropy(CIRCUIT_ID_SIZE), now=now)
        self._command(PumpMachine(end.connection, machine))

    def _on_ready(
        self,
        end: _End,
        machine: CircuitRequester | CircuitResponder,
        send_id: bytes,
        receive_id: bytes,
    ) -> None:
        assert end.peer_id is not None
        end.route = self._circuits.open(end.connection, send_id, receive_id)
        if end.route is None:
            machine.close()
            self._command(PumpMachine(end.connection, machine))
            return
        self._command(UseCircuit(end.route, end.peer_id, end.is_asker))

    def _on_ended(self, end: _End, reason: str) -> None:
        if end.peer_id is None:
            return
        was_used = end.route is not None
        if end.route is not None:
            self._circuits.close(end.route)
            use = UseCircuit(end.route, end.peer_id, end.is_asker)
            if use in self._commands:  # it ended in the very read that opened it
                self._commands.remove(use)
                was_used = False
            else:
                self._command(DropCircuit(end.route, end.peer_id, reason))
        if end.is_asker and not was_used:
            self._command(CircuitFailed(end.peer_id, end.relay, reason))
