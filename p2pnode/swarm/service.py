"""How built-in protocols plug into the swarm.

A service is told what happens, answers with stream machines, and asks for streams by commands.  It
sees connections as facts, never as objects, and speaks to other services only through the swarm.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import StreamMachine
from p2pnode.swarm.events import SwarmEvent
from p2pnode.transport.route import Route


class Peer(NamedTuple):
    """A connection, for those who may only know of it."""

    connection: int
    peer_id: PeerId
    route: Route


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Wish of a service: run `machine` on a new stream for `protocol`."""

    connection: int
    protocol: str
    machine: StreamMachine


class Service(Protocol):
    """One built-in protocol, or a family of them."""

    @property
    def protocol_ids(self) -> tuple[str, ...]:
        """What inbound streams it takes."""
        ...

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        """Returns the machine for an inbound stream, or None to refuse it."""
        ...

    def on_connected(self, peer: Peer, now: Instant) -> None: ...

    def on_disconnected(self, peer: Peer, now: Instant) -> None: ...

    def on_progress(self, connection: int, machine: StreamMachine, now: Instant) -> None:
        """A machine of this service was fed, or is over."""
        ...

    def on_stream_failed(
        self, connection: int, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        """A stream that was wished for could not be had, or the peer does not speak it."""
        ...

    def handle_timeout(self, now: Instant) -> None: ...

    def poll_timeout(self) -> Deadline | None: ...

    def poll_commands(self) -> list[OpenStream]: ...

    def poll_events(self) -> list[SwarmEvent]: ...
