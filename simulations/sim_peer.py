"""A node on a simulated host, as studies need it: it dials, sends a file and takes one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pnode.errors import P2PNodeError
from p2pnode.netsim.host import Host
from p2pnode.swarm.events import (
    ConnectionClosed,
    DialFailed,
    DialSucceeded,
    StreamWritable,
    SwarmEvent,
)
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode

if TYPE_CHECKING:
    from p2pnode.machine import ConnectionHandle

FILE = "/study/file/1"
WRITE_SIZE = 64 * 1024


class SimPeer(SimNode):
    """A node and the little that a study lets it do; on IPv4 alone, and it dials nobody back."""

    def __init__(self, host: Host) -> None:
        self.connection: ConnectionHandle | None = None
        self.has_failed = False
        self.close_reason = ""
        """Why the connection ended, once it has."""
        self.file = bytearray()
        """What has come of the file that the other one sends."""
        self.is_received = False
        self._source: tuple[SwarmStream, bytes] | None = None
        self._sent = 0
        super().__init__(host, speaks_ipv6=False, dials_back=False)
        self.serve(FILE)

    def send(self, data: bytes) -> None:
        """Sends over the connection that `dial` made."""
        assert self.connection is not None
        self._source, self._sent = (self.open(self.connection, FILE), data), 0
        self.do(self._write)

    def _write(self) -> None:
        if self._source is None:
            return
        stream, data = self._source
        while self._sent < len(data):
            taken = stream.write(data[self._sent : self._sent + WRITE_SIZE])
            self._sent += taken
            if not taken:
                return
        stream.finish()
        self._source = None

    def _read(self, stream: SwarmStream) -> None:
        if not stream.is_inbound:
            return
        try:
            while data := stream.read(WRITE_SIZE):
                self.file += data
            self.is_received = stream.at_eof
        except P2PNodeError as error:
            self.close_reason = str(error)

    def on_event(self, event: SwarmEvent) -> None:
        super().on_event(event)
        match event:
            case DialSucceeded(_, connection, _):
                self.connection = connection
            case DialFailed():
                self.has_failed = True
            case ConnectionClosed(_, _, reason, _):
                self.close_reason = str(reason)
            case StreamWritable() if not self.close_reason:
                self.do(self._write)
            case _:
                pass


def connected(peer: SimPeer) -> Callable[[], bool]:
    """Returns the condition that a dial is over."""
    return lambda: peer.connection is not None or peer.has_failed
