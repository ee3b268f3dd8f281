"""A stream machine and a service that do as a test tells them, and write down what they hear."""

from collections.abc import Callable, Mapping

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import (
    ConnectionHandle,
    ResetStream,
    SendData,
    SendEof,
    StreamMachine,
    StreamOutput,
)
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.service import OpenStream, Service


class ScriptedMachine:
    """Says what `say`, `finish` and `reset` have put down; over when `is_done` is set."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.reads = 0
        self.has_eof = False
        self.reset_code: int | None = None
        self.deadline: Deadline | None = None
        self.timeouts: list[Instant] = []
        self.is_done = False
        self.on_data: Callable[[bytes], None] = lambda data: None
        self._output: list[StreamOutput] = []

    def say(self, data: bytes) -> None:
        self._output.append(SendData(data))

    def finish(self) -> None:
        self._output.append(SendEof())

    def reset(self, code: int) -> None:
        self._output.append(ResetStream(code))

    def handle_data(self, data: bytes, now: Instant) -> None:
        self.received += data
        self.reads += 1
        self.on_data(data)

    def handle_eof(self, now: Instant) -> None:
        self.has_eof = True

    def handle_reset(self, code: int, now: Instant) -> None:
        assert self.reset_code is None, "a stream is lost once"
        self.reset_code = code

    def handle_timeout(self, now: Instant) -> None:
        self.timeouts.append(now)
        self.deadline = None

    def poll_output(self) -> list[StreamOutput]:
        output, self._output = self._output, []
        return output

    def poll_timeout(self) -> Deadline | None:
        return self.deadline


class PacedScript(ScriptedMachine):
    """One that says when it can take more."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False
        self.unsent: list[int] = []

    def handle_unsent(self, size: int) -> None:
        self.unsent.append(size)


class ScriptedService(Service):
    """Takes streams for the protocols of `inbound` by ScriptedMachines; `open` opens one."""

    def __init__(self, inbound: Mapping[str, InboundLimit] | None = None) -> None:
        super().__init__()
        self.inbound = inbound or {}
        self.refuses = False
        self.accepted: list[ScriptedMachine] = []
        self.make: Callable[[], ScriptedMachine] = ScriptedMachine
        self.told: list[tuple[str, StreamMachine]] = []
        """(what, about which machine), in order"""
        self.failures: list[str] = []
        """Reasons."""
        self.unreached: list[tuple[PeerId, str]] = []
        self.dialled_back: list[tuple[int, ConnectionHandle | None, str]] = []

    def open(self, connection: ConnectionHandle, protocol: str) -> ScriptedMachine:
        machine = self.make()
        self._command(OpenStream(connection, protocol, machine))
        return machine

    def of(self, machine: StreamMachine) -> list[str]:
        """Returns what was told about a machine; progress once, however often."""
        return list(dict.fromkeys(what for what, about in self.told if about is machine))

    def ends(self, machine: StreamMachine) -> int:
        return self.told.count(("over", machine))

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        if self.refuses:
            return None
        self.accepted.append(self.make())
        return self.accepted[-1]

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        self.told.append(("progress", machine))

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        self.told.append(("failed", machine))
        self.failures.append(reason)

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        self.told.append(("over", machine))

    def on_connect_failed(self, peer_id: PeerId, reason: str, now: Instant) -> None:
        self.unreached.append((peer_id, reason))

    def on_dial_back(
        self, ticket: int, connection: ConnectionHandle | None, reason: str, now: Instant
    ) -> None:
        self.dialled_back.append((ticket, connection, reason))
