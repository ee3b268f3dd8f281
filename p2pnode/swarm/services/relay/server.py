"""The relay that this node is for others (specs/relay.md): the service that holds its parts.

    inbound hop stream            relay_server_streams     reservations, stream circuits (splice)
    inbound circuit hop stream    relay_server_datagrams   datagram circuits
    packets with 0x90             protocols.relay's CircuitTable

Rules: what is refused and what is counted is one matter for all of them (relay_server_gate); a node
that does not relay now says so, and tells nobody that it could.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, Received, StreamMachine, Transmit
from p2pnode.protocols.relay import (
    CIRCUIT_HOP_PROTOCOL_ID,
    HOP_PROTOCOL_ID,
    MAX_INBOUND_STREAMS_PER_PEER,
    AccessList,
    CircuitRequester,
    CircuitResponder,
    CircuitTable,
    MonthlyVolume,
    PeerUsage,
    RelayLimits,
    Status,
    add_shares,
)
from p2pnode.protocols.relay.circuit_table import END_NOTICE
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.relay.datagrams import DatagramCircuits
from p2pnode.swarm.services.relay.gate import RelayGate
from p2pnode.swarm.services.relay.splice import SplicedStream
from p2pnode.swarm.services.relay.streams import HopStreams
from p2pnode.swarm.services.service import Readvertise, Service
from p2pnode.wire.multiaddr import Multiaddr


class Relaying(NamedTuple):
    """What was relayed for a peer since the start."""

    peer: PeerId
    carried: int
    """Bytes from it and to it that went on."""
    circuits: int
    """That are open now, at either end."""


class RelayServer(Service):
    """A Service; `set_public`, `drain` and the packets are its commands."""

    def __init__(
        self,
        facts: ServiceFacts,
        identity: PrivateKey,
        *,
        limits: RelayLimits,
        access: AccessList,
        volume: MonthlyVolume,
        mode: RelayMode,
        own_addresses: Callable[[Peer], tuple[Multiaddr, ...]],
        entropy: Entropy,
        now: Instant,
        unix_now: UnixTime,
        account: Account | None = None,
    ) -> None:
        """`own_addresses` tells where the peer's peers find this node; /p2p/<us> is added.

        `account` is told what is held, and what was refused.
        """
        super().__init__()
        if mode is not RelayMode.OFF:
            limit = InboundLimit(MAX_INBOUND_STREAMS_PER_PEER)
            self.inbound = {HOP_PROTOCOL_ID: limit, CIRCUIT_HOP_PROTOCOL_ID: limit}
        self.mode = mode
        self.volume = volume
        account = account or Account(ResourceLimits())
        self._gate = RelayGate(
            facts,
            self._command,
            limits=limits,
            access=access,
            volume=volume,
            now=now,
            unix_now=unix_now,
            account=account,
        )
        self._gate.is_serving = mode is RelayMode.ALWAYS
        self._table = CircuitTable(limits, entropy, volume, account)
        self._datagrams = DatagramCircuits(self._gate, self._table)
        self._streams = HopStreams(self._gate, identity, own_addresses)
        self._gate.is_used = self._is_used

    # switches

    @property
    def offered_ids(self) -> tuple[str, ...]:
        """What peers may be told that this node answers to now."""
        return super().offered_ids if self.is_serving else ()

    @property
    def is_serving(self) -> bool:
        """Whether it takes reservations and circuits now."""
        return self._gate.is_serving

    def set_public(self, is_public: bool, now: Instant) -> None:
        """Whether strangers reach this node.  What is relayed already goes on either way."""
        if self.mode is not RelayMode.WHEN_PUBLIC or self._gate.is_draining:
            return
        if is_public != self._gate.is_serving:
            self._gate.is_serving = is_public
            self._command(Readvertise())

    def drain(self, grace: float, now: Instant) -> None:
        """Takes nothing more, announces the end of all circuits, and ends them after `grace` s."""
        if self._gate.is_draining:
            return
        if self._gate.is_serving:
            self._command(Readvertise())
        self._gate.is_serving = False
        self._gate.drain()
        self._datagrams.drain(grace, now)
        self._streams.end_by(now + grace, now)

    @property
    def is_drained(self) -> bool:
        """True once nothing is left to wait for after `drain`."""
        return self._gate.is_draining and not self._gate.circuits

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: ends of reservations are told by it, months begin by it."""
        self._gate.handle_clock_changed(unix_now, now)
        self._check_volume(now)

    # streams

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        if protocol == HOP_PROTOCOL_ID:
            return self._streams.accept(peer.connection, now)
        return CircuitResponder(now)

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        match machine:
            case SplicedStream():
                self._streams.on_progress(machine, now)
                self._check_volume(now)
            case CircuitRequester() | CircuitResponder():
                self._datagrams.on_progress(connection, machine, now)
            case _:
                pass
        for left in self._gate.take_left():
            # A new reservation means a restart, as a rule: the circuits of before lead nowhere.
            self._datagrams.on_disconnected(left)
            self._streams.on_unusable(left, now)
        for number in self._gate.take_gives_way():
            self._datagrams.give_way(number)
            self._streams.give_way(number, now)
        self._take_reservations_ended()

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        match machine:
            case SplicedStream():
                self._streams.on_stream_failed(machine, now)
            case CircuitRequester() | CircuitResponder():
                self._datagrams.end(machine, reason)
            case _:
                pass

    # connections

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        self._gate.reservations.handle_disconnected(peer.connection)
        self._datagrams.on_disconnected(peer.connection)
        self._streams.on_unusable(peer.connection, now)

    def on_path_changed(self, peer: Peer, now: Instant) -> None:
        self._datagrams.on_moved(peer)
        if peer.route.is_relayed:
            self._streams.on_unusable(peer.connection, now)

    # packets

    @property
    def has_circuits(self) -> bool:
        """Whether there may be packets to pass on."""
        return bool(self._table)

    def handle_circuit_packets(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes datagrams whose first byte is CIRCUIT_TYPE.  Untrusted; never raises."""
        self._table.handle_received(batch, now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        """Returns what may leave now, in order."""
        return self._table.poll_transmits(now)

    # time

    def handle_timeout(self, now: Instant) -> None:
        self._gate.reservations.handle_timeout(now)
        self._take_reservations_ended()
        self._datagrams.handle_timeout(now)
        if self._datagrams.is_volume_nearly_spent:
            self._datagrams.is_volume_nearly_spent = False
            self._streams.end_by(now + END_NOTICE, now)
        self._check_volume(now)

    def poll_timeout(self) -> Deadline | None:
        return earliest(self._gate.reservations.poll_timeout(), self._table.poll_timeout())

    # facts

    def relaying(self) -> tuple[Relaying, ...]:
        """Returns how much was relayed for each peer, the most first."""
        open_circuits = Counter(self._datagrams.peers() + self._streams.peers())
        carried = {
            peer: usage.sent.forwarded_bytes + usage.received.forwarded_bytes
            for peer, usage in self.usage().items()
        }
        found = [
            Relaying(peer, carried.get(peer, 0), open_circuits[peer])
            for peer in dict.fromkeys((*carried, *open_circuits))
        ]
        return tuple(sorted(found, key=lambda entry: -entry.carried))

    def usage(self) -> dict[PeerId, PeerUsage]:
        """Returns what each peer had relayed since the start, by direction."""
        usage = self._table.usage()
        add_shares(usage, self._streams.usage().items())
        return usage

    @property
    def has_clients(self) -> bool:
        """Whether `serves` is true of anybody."""
        return self._gate.has_clients

    def serves(self, peer: PeerId) -> bool:
        """Whether a peer has a reservation or a circuit with us."""
        return self._gate.serves(peer)

    def reservations(self) -> dict[PeerId, Instant]:
        """Returns who can be reached through this node, and until when."""
        return self._gate.reservations.expiries()

    @property
    def circuits(self) -> int:
        """Circuits of both kinds, those that are being opened included."""
        return self._gate.circuits

    @property
    def reservation_answers(self) -> dict[Status, int]:
        """How often a request for a reservation was answered how."""
        return dict(self._gate.reservation_answers)

    @property
    def circuit_answers(self) -> dict[Status, int]:
        """How often a request for a circuit was answered how."""
        return dict(self._gate.circuit_answers)

    @property
    def renewals(self) -> int:
        """Reservations that were granted to peers that had one."""
        return self._gate.renewals

    @property
    def circuits_closed(self) -> int:
        """Circuits that were open and are no more."""
        return self._gate.circuits_closed

    @property
    def strays(self) -> int:
        """Circuit packets that belonged to no open circuit."""
        return self._table.strays

    # details

    def _is_used(self, number: int, now: Instant) -> bool:
        return self._datagrams.is_used(number, now) or self._streams.is_used(number, now)

    def _take_reservations_ended(self) -> None:
        """Who loses its place learns of it at once, and reserves elsewhere."""
        for ended in self._gate.reservations.poll_events():
            if ended.gives_way:
                self._gate.disconnect(ended.connection, ended.reason)

    def _check_volume(self, now: Instant) -> None:
        """Streams use up the month's volume as well: where it is spent, nothing goes on."""
        if self.volume.is_nearly_spent:
            self._table.count_volumes_soon(now)
        if self.volume.is_spent:
            self._streams.end_by(now, now)
