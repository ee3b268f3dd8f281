"""Two transports over TCP back to back, stepped by hand: a test moves what their links carry."""

from random import Random

from p2pnode.clock import UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import (
    FIRST_ACCEPTED_LINK,
    LINK_CREDIT,
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkClosed,
    LinkConnected,
    LinkData,
    LinkEvent,
    LinkId,
    LinkWritable,
    PauseLink,
    ResumeLink,
    WriteLink,
)
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, TransportEvent
from p2pnode.transports.faults import Faults
from p2pnode.transports.route import Route
from p2pnode.transports.tcp.connection import TcpConnection
from p2pnode.transports.tcp.maker import Tcp

LISTENER = SocketId(1)
SERVER = SocketAddr("192.0.2.2", 4001)
ROUTE = Route(LISTENER, None, SERVER)
"""From the listener's port to the server's."""


class Side:
    """A transport, and what its driver knows of its links."""

    def __init__(
        self,
        name: str,
        *,
        serves: bool = True,
        account: Account | None = None,
        is_raising: bool = True,
    ) -> None:
        """`is_raising`: a fault of this program is raised where it is met."""
        entropy = Random(name).randbytes
        self.identity = PrivateKey.generate(entropy)
        self.peer_id = PeerId.from_public_key(self.identity.public_key)
        self.commons = Commons(
            account or Account(ResourceLimits()), faults=Faults(is_raising=is_raising)
        )
        self.transport = Tcp(entropy)(
            self.identity, self.commons, serves=serves, now=0.0, unix_now=UnixTime(0.0)
        )
        self.events: list[TransportEvent] = []
        self.commands: list[object] = []
        """All there were, but for writes."""
        self.written: dict[LinkId, bytearray] = {}
        self.credit: dict[LinkId, int] = {}
        self.paused: set[LinkId] = set()
        self.closed: dict[LinkId, bool] = {}
        """Whether by a reset."""

    def tell(self, now: float, *events: LinkEvent) -> None:
        """Tells the transport, and drains it."""
        for event in events:
            if isinstance(event, LinkWritable):
                self.credit[event.link] = self.credit.get(event.link, 0) + event.size
        self.transport.handle_link_events(events, now)
        self.drain(now)

    def drain(self, now: float) -> None:
        while True:
            commands = self.transport.poll_link_commands(now)
            events = self.transport.poll_events()
            self.events += events
            for command in commands:
                match command:
                    case WriteLink(link, data):
                        assert link not in self.closed
                        self.credit[link] -= len(data)
                        assert self.credit[link] >= 0, "more was written than was granted"
                        self.written.setdefault(link, bytearray()).extend(data)
                        continue
                    case PauseLink(link):
                        assert link not in self.paused
                        self.paused.add(link)
                    case ResumeLink(link):
                        self.paused.remove(link)
                    case CloseLink(link, is_reset):
                        assert link not in self.closed
                        self.closed[link] = is_reset
                        self.paused.discard(link)
                self.commands.append(command)
            if not commands and not events:
                break
        assert not self.transport.has_events
        self.transport.check()

    def fire(self, now: float) -> None:
        """Lets it do what is due."""
        deadline = self.transport.poll_timeout()
        if deadline is not None and deadline.at <= now:
            self.transport.handle_timeout(now)
            self.drain(now)

    def of(self, kind: type) -> list[object]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def connection(self, handle: ConnectionHandle) -> TcpConnection:
        found = self.transport.commons.connections[handle]
        assert isinstance(found, TcpConnection)
        self.transport.wake(handle)
        return found

    def accept(self, link: LinkId, ip: str = "198.51.100.1", now: float = 0.0) -> None:
        """Somebody has come."""
        remote = SocketAddr(ip, 40_000 + link)
        self.tell(
            now, LinkAccepted(link, LISTENER, SERVER, remote), LinkWritable(link, LINK_CREDIT)
        )


class TcpPair:
    """Alice dials Bob, and bytes are moved as the test says."""

    def __init__(self, *, account: Account | None = None, is_raising: bool = True) -> None:
        self.now = 0.0
        self.alice = Side("alice")
        self.bob = Side("bob", account=account, is_raising=is_raising)
        self.ours, self.theirs = LinkId(0), FIRST_ACCEPTED_LINK
        self.handle = self.alice.transport.dial(ROUTE, self.bob.peer_id, self.now)
        self.alice.drain(self.now)
        assert isinstance(self.alice.commands[0], ConnectLink)
        local = SocketAddr("192.0.2.1", 4001)
        self.alice.tell(
            self.now, LinkConnected(self.ours, local), LinkWritable(self.ours, LINK_CREDIT)
        )
        self.bob.accept(self.theirs, local.ip)

    @property
    def _ways(self) -> tuple[tuple[Side, LinkId, Side, LinkId], ...]:
        return (
            (self.alice, self.ours, self.bob, self.theirs),
            (self.bob, self.theirs, self.alice, self.ours),
        )

    @property
    def bobs(self) -> ConnectionHandle:
        (handle,) = [h for h, event in self.bob.events if isinstance(event, Connected)]
        return handle

    def say(self, frames: bytes) -> None:
        """Bob gets frames of yamux that Alice's session has not made."""
        sealed = self.alice.connection(self.handle)._channel.encrypt(frames)
        self.bob.tell(self.now, LinkData(self.theirs, sealed))

    def move(self, size: int = 1 << 16) -> bool:
        """Carries up to so many bytes each way; returns whether there were any."""
        moved = self.move_one(0, size)
        return self.move_one(1, size) or moved

    def move_one(self, way: int, size: int) -> bool:
        """Carries up to so many bytes, from Alice (0) or from Bob (1)."""
        sender, ours, receiver, theirs = self._ways[way]
        written = sender.written.get(ours, bytearray())
        if not written or theirs in receiver.paused or theirs in receiver.closed:
            return False
        data = bytes(written[:size])
        del written[:size]
        receiver.tell(self.now, LinkData(theirs, data))
        if ours not in sender.closed:
            sender.tell(self.now, LinkWritable(ours, len(data)))
        return True

    def run(self, size: int = 1 << 16) -> None:
        """Until nothing moves and nobody waits for a turn."""
        while True:
            moved = self.move(size)
            for side in (self.alice, self.bob):
                deadline = side.transport.poll_timeout()
                if deadline is not None and deadline.at <= self.now + 1e-5:
                    self.now = max(self.now, deadline.at)
                    side.fire(self.now)
                    moved = True
            if not moved:
                return

    def end_links(self) -> None:
        """Tells each side of the end of the other one's link."""
        for a, a_link, b, b_link in self._ways:
            if a_link in a.closed and b_link not in b.closed:
                b.tell(self.now, LinkClosed(b_link, was_reset=a.closed[a_link]))
