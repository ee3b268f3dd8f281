"""A node without a network: it reaches one made-up peer, whose side a test plays."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from p2pnode.cli.environment import NodeRequest
from p2pnode.cli.node_report import NodeReport
from p2pnode.errors import AddressError, DialError, P2PNodeError, PeerBusy, ProtocolNotSupported
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.control.path import control_socket_path
from p2pnode.io.metrics.server import MetricsAddress
from p2pnode.io.node.connection_info import ConnectionInfo
from p2pnode.io.node.status import AddressStatus, NodeStatus, RelayStatus
from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.identify.info import IdentifyInfo
from p2pnode.protocols.nat_behaviour.why import Explanation
from p2pnode.resources.account import ResourceUse
from p2pnode.resources.refusal import Resource
from p2pnode.swarm.services.relay.server import Relaying
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.shell.fake_streams import FakeRoute, FakeStream, fake_peer_id, fake_stream_pair
from tests.support.addresses import NOISE_UDP

OURS = fake_peer_id(1)
PEER = fake_peer_id(2)
ADDRESS = f"/ip4/192.0.2.7/udp/4001/noise/p2p/{PEER}"
OUR_ADDRESS = f"/ip4/192.0.2.1/udp/4001/noise/p2p/{OURS}"

VIA = parse_multiaddr("/ip4/192.0.2.7/udp/4001/noise")
RELAY = fake_peer_id(3)

EMPTY_STATUS = NodeStatus(OURS, Reachability.UNKNOWN, (), (), (), ())
FULL_STATUS = NodeStatus(
    OURS,
    Reachability.PRIVATE,
    (AddressStatus(VIA, Reachability.PRIVATE, 2),),
    (RelayStatus(RELAY, 1800.04, -3600.0),),
    (
        ConnectionInfo(PEER, "relayed", VIA, 0.0123456, 3, NOISE_UDP, True),
        ConnectionInfo(RELAY, "direct", VIA, None, 0, NOISE_UDP, False),
    ),
    (Relaying(PEER, 4096, 2), Relaying(RELAY, 0, 2)),
    (ResourceUse(Resource.MEMORY, 1 << 20, 1 << 28, 7), ResourceUse(Resource.CIRCUITS, 0, 64, 0)),
)

Handler = Callable[[FakeStream], Awaitable[None]]


class FakeNode:
    """What `ControlledNode` and `CommandNode` ask for."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.peer_id = OURS
        self.addresses = [OUR_ADDRESS]
        self.peer_handlers: dict[str, Handler] = {}
        """What the peer speaks."""
        self.busy: list[str] = []
        """Protocols that it takes no more streams of."""
        self.handlers: dict[str, Handler] = {}
        self.rtts: list[float | P2PNodeError] = []
        """Of the next pings; 1 ms after that."""
        self.identify_info = IdentifyInfo(PEER)
        self.streams: list[FakeStream] = []
        """Our ends of the streams that were opened."""
        self.has_opened = trio.Event()
        """A stream was opened."""
        self.has_handler = trio.Event()
        """A handler was registered."""
        self.node_reports: list[NodeReport] = []
        self.is_ending = True
        """The node has no more to report after these."""
        self.node_status = EMPTY_STATUS
        self.explanation = Explanation(PEER, "direct", "one side could be dialled", None, None, ())
        self.known_peers = [PEER]
        self.path = "direct"
        """To the peer."""
        self.drains: list[float] = []
        """Graces given."""
        self.is_draining = trio.Event()
        self.drain_takes = 0.0
        self.reachable = [ADDRESS]
        self._nursery = nursery

    @property
    def controlled(self) -> "FakeNode":
        return self

    async def connect(self, target: str) -> PeerId:
        await trio.lowlevel.checkpoint()
        if not target.startswith("/") and target != str(PEER):
            raise AddressError(f"{target!r} is not a multiaddr")
        if target not in self.reachable:
            raise DialError(
                f"cannot reach {target}: nothing answers", ((target, "nothing answers"),)
            )
        return PEER

    async def open_stream(self, target: str, protocol: str) -> FakeStream:
        peer = await self.connect(target)
        ours, theirs = fake_stream_pair(OURS, peer)
        handler = self.peer_handlers.get(protocol)
        if protocol in self.busy:
            ours.fail(PeerBusy((protocol,)))
        elif handler is None:
            ours.fail(ProtocolNotSupported((protocol,)))
        else:
            self._nursery.start_soon(_serve, handler, theirs)
        self.streams.append(ours)
        self.has_opened.set()
        return ours

    async def identify(self, target: str) -> IdentifyInfo:
        await self.connect(target)
        return self.identify_info

    async def ping(self, target: str) -> float:
        await self.connect(target)
        rtt = self.rtts.pop(0) if self.rtts else 0.001
        if isinstance(rtt, P2PNodeError):
            raise rtt
        await trio.sleep(rtt)
        return rtt

    def connection_info(self, peer: PeerId) -> FakeRoute:
        assert peer == PEER
        return FakeRoute(self.path)

    def status(self) -> NodeStatus:
        return self.node_status

    async def why(self, target: str) -> Explanation:
        await self.connect(target)
        return self.explanation

    async def drain(self, grace: float) -> None:
        self.drains.append(grace)
        self.is_draining.set()
        await trio.sleep(self.drain_takes)

    async def serve_metrics(
        self, address: MetricsAddress, *, task_status: trio.TaskStatus[MetricsAddress]
    ) -> None:
        task_status.started(address)
        await trio.sleep_forever()

    def handle(self, protocol: str, handler: Handler, max_streams: int) -> None:
        self.handlers[protocol] = handler
        self.has_handler.set()

    def unhandle(self, protocol: str) -> None:
        del self.handlers[protocol]

    async def reports(self) -> AsyncIterator[NodeReport]:
        for report in self.node_reports:
            yield report
        await trio.lowlevel.checkpoint()
        if not self.is_ending:
            await trio.sleep_forever()


async def _serve(handler: Handler, stream: FakeStream) -> None:
    with suppress(trio.BrokenResourceError):  # as a node does: a handler may fail
        await handler(stream)


class FakeEnvironment:
    """An `Environment` on a folder; `on_open` sets a node up, and may play its peer."""

    def __init__(
        self, folder: Path, on_open: Callable[[FakeNode, trio.Nursery], None] = lambda *_: None
    ) -> None:
        self.folder = folder
        self.on_open = on_open
        self.requests: list[NodeRequest] = []
        self.failure: P2PNodeError | None = None

    @asynccontextmanager
    async def open_node(self, request: NodeRequest) -> AsyncIterator[FakeNode]:
        self.requests.append(request)
        if self.failure is not None and request.data is not None:
            raise self.failure
        async with trio.open_nursery() as nursery:
            node = FakeNode(nursery)
            self.on_open(node, nursery)
            yield node
            nursery.cancel_scope.cancel()

    def data_folder(self, chosen: Path | None) -> Path:
        return chosen or self.folder

    def control_socket(self, folder: Path) -> Path | None:
        return control_socket_path(folder)

    def peer_id(self, folder: Path) -> str:
        return str(OURS)


HOSTILE_INFO = IdentifyInfo(
    PEER,
    listen_addrs=(parse_multiaddr("/ip4/192.0.2.7/udp/4001/noise"),),
    protocols=("/ipfs/ping/1.0.0", "/x\x1b[31m/1.0.0"),
    observed_addr=parse_multiaddr("/ip4/198.51.100.3/udp/50000/noise"),
    agent_version="evil\x1b]0;owned\x07\u202e[bold]agent[/bold]\nit sees us at      nowhere",
    protocol_version="p2pnode/0.1.0",
)
"""What a peer says that would like to draw on our terminal."""
