"""How built-in protocols plug into the swarm.

    facts in       what happens, by the hooks `on_...`; what is, by `ServiceFacts`
    commands out   what the swarm shall do: `_command`, taken by `poll_commands`
    events out     what the user shall know: `_announce`, taken by `poll_events`

A service is told what happens, answers with stream machines, and asks for the rest by commands.  It
sees connections as facts, never as objects, and speaks to other services only through the swarm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, StreamMachine
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.transports.punch import Punch
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.transport_name import TransportName


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Run `machine` on a new stream for `protocol`; see `on_progress` and `on_stream_failed`."""

    connection: ConnectionHandle
    protocol: str
    machine: StreamMachine


@dataclass(frozen=True, slots=True)
class DialPeer:
    """Dial a peer directly; `on_connected` or `on_connect_failed` follows, nothing if it is."""

    peer_id: PeerId
    addresses: tuple[Multiaddr, ...] = ()
    """Beside those that the book has."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close a connection."""

    connection: ConnectionHandle
    reason: str
    for_load: bool = False
    """Others need what it was kept for: the peer gets EXCESSIVE_LOAD.  Not done where it has
    streams, or is protected."""


@dataclass(frozen=True, slots=True)
class PumpMachine:
    """A machine of this service was given a command: move what it has to say now."""

    connection: ConnectionHandle
    machine: StreamMachine


@dataclass(frozen=True, slots=True)
class DialBack:
    """Make a connection from a socket that is used for nothing else; `on_dial_back` follows."""

    ticket: int
    """Of the service's choice, to know the answer by."""
    peer_id: PeerId
    address: SocketAddr
    transport: TransportName
    timeout: float
    """seconds"""


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send one datagram, outside of any connection, from a socket that is used for nothing else."""

    target: SocketAddr
    payload: bytes


@dataclass(frozen=True, slots=True)
class PunchRoutes:
    """Probe addresses as new routes of a relayed connection."""

    connection: ConnectionHandle
    remotes: tuple[SocketAddr, ...]
    punch: Punch


@dataclass(frozen=True, slots=True)
class UseCircuit:
    """A circuit of ours stands: take packets from it, and where we asked for it, connect by it.

    Where the far peer is connected, the circuit becomes another path of that connection.
    """

    route: Route
    peer_id: PeerId
    is_asker: bool
    """Whether we asked for the circuit: then it is ours to dial through."""


@dataclass(frozen=True, slots=True)
class CircuitFailed:
    """There is no circuit to a peer through that relay."""

    peer_id: PeerId
    relay: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class DropCircuit:
    """A circuit is gone: no packet goes by it any more."""

    route: Route
    peer_id: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class ReplaceCircuit:
    """A circuit ends soon: the connections that use it need another way."""

    route: Route
    peer_id: PeerId
    relay: PeerId


@dataclass(frozen=True, slots=True)
class ProbePath:
    """Ask the peer for a sign of life, on every path of the connection."""

    connection: ConnectionHandle


@dataclass(frozen=True, slots=True)
class FindPeers:
    """More peers should be known and connected: candidates for relays, observers and helpers."""


@dataclass(frozen=True, slots=True)
class LearnAddresses:
    """Somebody says that a peer can be reached there: hearsay for the address book."""

    peer_id: PeerId
    addresses: tuple[Multiaddr, ...]
    """Without the peer's own /p2p at the end."""


@dataclass(frozen=True, slots=True)
class Readvertise:
    """Our addresses or protocols have changed; peers shall be told."""


Command: TypeAlias = (
    OpenStream
    | DialPeer
    | Disconnect
    | PumpMachine
    | DialBack
    | SendDatagram
    | PunchRoutes
    | UseCircuit
    | CircuitFailed
    | DropCircuit
    | ReplaceCircuit
    | ProbePath
    | FindPeers
    | LearnAddresses
    | Readvertise
)


class Service:
    """One built-in protocol, or a family of them.  A subclass says what it cares for."""

    inbound: Mapping[str, InboundLimit] = {}
    """The protocols of inbound streams that it takes, and how many of each at a time."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._events: list[SwarmEvent] = []
        self._line: dict[Service, None] = {}

    def speak_to(self, line: "dict[Service, None]") -> None:
        """From now on it puts itself in that line whenever it has output."""
        self._line = line
        if self._commands or self._events:
            line[self] = None

    @property
    def offered_ids(self) -> tuple[str, ...]:
        """What peers are told that it takes now."""
        return tuple(self.inbound)

    # streams

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        """Returns the machine for an inbound stream, or None to refuse it.

        Asked only while there are fewer of them than `inbound` allows.
        """
        return None

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """A machine of this service was fed, or is over."""

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        """A stream that was wished for could not be had, or the peer does not speak it."""

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        """Nothing more comes of a machine that was accepted, or that `OpenStream` named.

        The last word on it, exactly once, whether its stream ended well, was lost, or never was;
        what it has said has been taken.
        """

    # connections

    def on_connected(self, peer: Peer, now: Instant) -> None:
        """There is a new connection."""

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        """A connection is gone."""

    def on_path_changed(self, peer: Peer, now: Instant) -> None:
        """The data of a connection goes another way from now on; `peer` says which."""

    def on_path_validated(self, connection: ConnectionHandle, route: Route, now: Instant) -> None:
        """Another way to a peer works."""

    def on_identified(self, peer: Peer, info: IdentifyInfo, now: Instant) -> None:
        """A peer said who it is, or said it anew."""

    def on_addresses_learned(self, peer_id: PeerId, now: Instant) -> None:
        """Somebody told addresses of a peer; they are in the address book."""

    def on_observed(self, peer: Peer, now: Instant) -> None:
        """A peer told where it sees us."""

    def on_addresses_changed(self, now: Instant) -> None:
        """Sockets or interfaces of this machine are others now."""

    # answers to commands

    def on_connect_failed(self, peer_id: PeerId, reason: str, now: Instant) -> None:
        """What `DialPeer` asked for could not be had."""

    def on_dial_back(
        self, ticket: int, connection: ConnectionHandle | None, reason: str, now: Instant
    ) -> None:
        """What `DialBack` asked for: the connection, or None and why there is none."""

    # time

    def handle_timeout(self, now: Instant) -> None:
        """Does everything that is due."""

    def poll_timeout(self) -> Deadline | None:
        """Returns when to call `handle_timeout` next."""
        return None

    # results

    def _command(self, command: Command) -> None:
        """Asks the swarm to do something."""
        self._commands.append(command)
        self._line[self] = None

    def _announce(self, event: SwarmEvent) -> None:
        """Tells the user something."""
        self._events.append(event)
        self._line[self] = None

    def poll_commands(self) -> Sequence[Command]:
        """Returns what the swarm shall do, in order."""
        commands, self._commands = self._commands, []
        return commands

    def poll_events(self) -> Sequence[SwarmEvent]:
        """Returns what the user shall know, oldest first."""
        events, self._events = self._events, []
        return events
