"""A peer for trio programs: `async with open_node() as node`.

Rule: a Node translates.  Commands go to the swarm, its events go to whoever waits for them, and all
decisions are below.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, assert_never

import trio

from p2pnode.errors import ConnectionLost, LocalProtocolError, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import with_peer_id
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.io.dial_target import DialTarget, Target, dial_target
from p2pnode.io.driver import Driver
from p2pnode.io.node import events as node_events
from p2pnode.io.node.answers import Answers
from p2pnode.io.node.arguments import (
    check_goodbye,
    check_handler,
    check_number,
    check_peer,
    check_protocol,
    check_seconds,
    check_type,
    given_peer_id,
    protocol_ids,
)
from p2pnode.io.node.connection_info import ConnectionInfo, connection_info, path_kind, via
from p2pnode.io.node.engine import Engine
from p2pnode.io.node.events import MAX_EVENTS, EventFeed, EventSubscription, NodeEvent
from p2pnode.io.node.fault_log import FaultLog
from p2pnode.io.node.handlers import Handler, Handlers
from p2pnode.io.node.open_streams import OpenStreams
from p2pnode.io.node.pings import Pings
from p2pnode.io.node.shared_dials import Reached, SharedDials
from p2pnode.io.node.status import NodeStatus, node_status
from p2pnode.io.node.stream import Stream
from p2pnode.io.node.why import connect_and_explain
from p2pnode.io.store.memory import REMEMBERED, Memory
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.protocols.nat_behaviour.why import Explanation
from p2pnode.swarm import Swarm
from p2pnode.swarm import events as swarm_events
from p2pnode.swarm.config import DEFAULT_MAX_STREAMS
from p2pnode.swarm.events import SwarmEvent
from p2pnode.wire.multiaddr import Multiaddr

DRAIN_CHECK_INTERVAL: Final = 0.02
"""seconds; chosen: short against the round trips that moving a circuit takes"""


logger = logging.getLogger(__name__)


class Node:
    """A running peer; `p2pnode.open_node` makes and ends it.

    A target is a multiaddr, with or without /p2p/<id> at its end, or the id of a peer that is
    connected or whose addresses are known; text of either will do.  All methods that take one raise
    AddressError for text that is neither and DialError where the peer cannot be reached.  Arguments
    of a wrong type are a TypeError, and those of a wrong value an ArgumentError, at the call.
    """

    def __init__(self, swarm: Swarm, nursery: trio.Nursery, memory: Memory | None = None) -> None:
        """For `node_lifetime`; handlers run in the nursery."""
        self.peer_id: PeerId = swarm.peer_id
        self._swarm = swarm
        self._facts = swarm.facts
        self.memory = memory
        self._engine = engine = Engine(swarm, Driver(swarm, self._dispatch))
        self._streams = OpenStreams(engine)
        self._dials = SharedDials(engine)
        self._handlers = Handlers(engine, self._streams, nursery)
        self._pings: Answers[float] = Answers(self._send_ping)
        self._identifies: Answers[IdentifyInfo] = Answers(self._send_identify)
        self._feed = EventFeed()
        self._fault_log = FaultLog()
        self._connected: dict[PeerId, trio.Event] = {}
        """Peers, and what is set when the last connection with one is gone."""
        self._watchers: list[Callable[[SwarmEvent], None]] = []
        self._is_closed = False

    @property
    def engine(self) -> Engine:
        """For those who run the node."""
        return self._engine

    # facts

    @property
    def addresses(self) -> list[Multiaddr]:
        """Where the node can be dialled, as far as it knows; through relays last.

        Empty for a node that only dials.
        """
        direct = [with_peer_id(a, self.peer_id) for a in self._facts.listen_addresses()]
        return [*direct, *self._facts.relayed_addresses()]

    @property
    def peers(self) -> list[PeerId]:
        """The peers that are connected."""
        return list(self._facts.peers())

    @property
    def is_undecided(self) -> bool:
        """True while a young node that listens does not know yet whether strangers reach it."""
        listens = bool(self._facts.socket_addresses())
        return listens and self._facts.is_undecided(self._engine.now)

    def connection_info(self, peer: PeerId) -> ConnectionInfo:
        """Returns which way packets to the peer go now.  Raises ConnectionLost where none do."""
        check_peer(peer)
        best = self._facts.best(peer)
        info = None if best is None else connection_info(self._facts, best)
        if info is None:
            raise ConnectionLost(f"not connected with {peer}")
        return info

    @property
    def known_peers(self) -> list[PeerId]:
        """The peers of which addresses are known, connected or not."""
        return [peer for peer in self._facts.known_peers() if peer != self.peer_id]

    def status(self) -> NodeStatus:
        """Returns what the node knows of itself: who reaches it how, and who helps whom."""
        return node_status(self._facts, self._engine.now)

    def events(self, max_events: int = MAX_EVENTS) -> EventSubscription:
        """Returns what happens from now on, to be iterated over with `async for`.

        Who is more than `max_events` behind loses the oldest and gets EventsDropped for them.
        """
        check_number("max_events", max_events, least=1)
        return self._feed.subscribe(max_events)

    # streams

    def handle(
        self, protocol: str, handler: Handler, max_streams: int = DEFAULT_MAX_STREAMS
    ) -> None:
        """Runs the handler, in a task of its own, for each stream that peers open for the protocol.

        A peer may have `max_streams` of them at a time; one more gets PeerBusy there.  The stream
        is closed when the handler returns, and reset when it raises; what it raises is logged.
        Raises LocalProtocolError where the protocol has a handler already.
        """
        check_protocol(protocol)
        check_handler(handler, max_streams)
        self._handlers.add(protocol, handler, max_streams)

    def unhandle(self, protocol: str) -> None:
        """Takes no new streams for the protocol; those that are being handled go on."""
        check_type("a protocol id", protocol, str)
        self._handlers.remove(protocol)

    async def open_stream(self, target: Target, protocol: str | Sequence[str]) -> Stream:
        """Opens a stream for the first of the protocols that the peer speaks; connects if needed.

        Of one protocol it is not awaited whether the peer speaks it: data may follow at once, and
        ProtocolNotSupported and PeerBusy come from the stream's first use.  Of several, this raises
        them.  Waits while the peer allows no more streams at all.  Cancel-safe.
        """
        protocols = protocol_ids(protocol)
        wanted = dial_target(target)
        while True:
            reached = await self._reach(wanted)
            stream = self._streams.open(reached.connection, protocols)
            if stream is not None:
                break
            await self._streams.wait_for_room(reached.connection)
        if len(protocols) > 1:
            await stream.wait_negotiated()
        return stream

    # peers

    async def connect(self, target: Target) -> PeerId:
        """Connects with a peer, unless it is connected, and returns its id.  Cancel-safe."""
        return (await self._reach(dial_target(target))).peer_id

    async def connect_to(self, target: DialTarget) -> PeerId:
        """Does what `connect` does, for a target that is understood already."""
        return (await self._reach(target)).peer_id

    async def wait_disconnected(self, peer: PeerId) -> None:
        """Returns when no connection with the peer is left.  Cancel-safe."""
        check_peer(peer)
        gone = self._connected.get(peer)
        if gone is None:
            await trio.lowlevel.checkpoint()
        else:
            await gone.wait()

    async def disconnect(self, peer: PeerId, code: int = 0, reason: str = "") -> None:
        """Closes the connections with a peer, who is told the code and the reason."""
        check_peer(peer)
        check_goodbye(code, reason)
        for connection in self._facts.handles(peer):
            self._swarm.disconnect(connection, self._engine.now, code, reason)
        self._engine.drain()
        await trio.lowlevel.checkpoint()

    async def identify(self, target: Target) -> IdentifyInfo:
        """Asks a peer who it is, and where it sees us.  Raises NoAnswer.  Cancel-safe."""
        reached = await self._reach(dial_target(target))
        return await self._identifies.ask(reached.connection)

    async def ping(self, target: Target) -> float:
        """Returns the time that 32 bytes take to a peer and back, in seconds.

        Who asks while a ping is on its way gets the outcome of that one.  Raises NoAnswer.
        Cancel-safe.
        """
        reached = await self._reach(dial_target(target))
        return await self._pings.ask(reached.connection)

    def pings(self, target: Target, count: int | None = None, interval: float = 1.0) -> Pings:
        """Returns an async iterator over Pong and PingLost, `interval` seconds apart.

        It raises where the peer cannot be reached to begin with, and connects again where the
        connection is lost later.
        """
        dial_target(target)
        if count is not None:
            check_number("count", count, least=0)
        check_seconds("interval", interval)
        return Pings(self, target, count, interval)

    def explain(self, peer: PeerId) -> Explanation:
        """Returns why packets to a peer go the way they go, as far as is known now."""
        check_peer(peer)
        return self._facts.why(peer, self._engine.now)

    async def why(self, target: Target) -> Explanation:
        """Connects with a peer, and says why its packets go the way they go.

        A peer that cannot be reached is an answer as well.  Waits for hole punching that is on its
        way, for a while.  Raises AddressError; DialError where no id is known.  Cancel-safe.
        """
        return await connect_and_explain(self, dial_target(target))

    async def _reach(self, target: DialTarget) -> Reached:
        if self._is_closed:
            raise LocalProtocolError("the node is closed")
        return await self._dials.reach(target)

    def _send_ping(self, connection: ConnectionHandle) -> None:
        self._swarm.ping(connection, self._engine.now)
        self._engine.drain()

    def _send_identify(self, connection: ConnectionHandle) -> None:
        self._swarm.identify(connection, self._engine.now)
        self._engine.drain()

    def watch(self, watcher: Callable[[SwarmEvent], None]) -> None:
        """Calls `watcher` with each event of the swarm from now on: for those who count."""
        self._watchers.append(watcher)

    def report(self, event: NodeEvent) -> None:
        """Tells subscribers of something that a part of the shell has found out."""
        self._feed.publish(event)

    # the end

    async def drain(self, grace: float) -> None:
        """Relays nothing new, and moves the circuits of others away; takes `grace` s at most.

        Returns when no circuit is left.
        """
        check_seconds("grace", grace)
        self._swarm.drain_relay(grace, self._engine.now)
        self._engine.drain()
        with trio.move_on_after(grace):
            while not self._facts.is_relay_drained():  # noqa: ASYNC110 - no event tells it
                await trio.sleep(DRAIN_CHECK_INTERVAL)

    def protect(self, peer_id: PeerId | str, *, is_protected: bool = True) -> None:
        """Says whether a peer keeps its places, and gets one, when there are too many who come.

        See specs/resources.md.  Raises TypeError, and ArgumentError for text that is no peer id.
        """
        self._swarm.protect(given_peer_id(peer_id), is_protected=is_protected)

    async def deliver(self) -> None:
        """Returns once peers have acknowledged every stream that was finished.

        Raises Undelivered where that is not to be, or takes too long.  Cancel-safe.
        """
        await self._streams.deliver()

    def close(self) -> None:
        """Closes all connections; their peers are told before this returns."""
        if not self._is_closed:
            self._is_closed = True
            self._swarm.close(self._engine.now)
            self._engine.drain()
            self._feed.close()

    # from the swarm

    def _dispatch(self, event: SwarmEvent) -> None:
        try:
            for watcher in self._watchers:
                watcher(event)
            if self.memory is not None and isinstance(event, REMEMBERED):
                self.memory.note(event, self._facts, self._engine.now)
            match event:
                case swarm_events.StreamReadable(stream):
                    self._streams.on_readable(stream)
                case swarm_events.StreamWritable(stream):
                    self._streams.on_writable(stream)
                case swarm_events.StreamOpened(stream):
                    self._handlers.on_opened(stream)
                case swarm_events.StreamsAvailable(connection):
                    self._streams.on_room(connection)
                case swarm_events.PongReceived(connection, rtt):
                    self._pings.answer(connection, rtt)
                case swarm_events.PingFailed(connection, reason):
                    self._pings.fail(connection, reason)
                case swarm_events.PeerIdentified(connection, info):
                    self._identifies.answer(connection, info)
                    self._feed.publish(node_events.PeerIdentified(info))
                case swarm_events.IdentifyFailed(connection, reason):
                    self._identifies.fail(connection, reason)
                case swarm_events.DialSucceeded():
                    self._dials.on_succeeded(event)
                case swarm_events.DialFailed():
                    self._dials.on_failed(event)
                case swarm_events.ConnectionEstablished():
                    self._on_established(event)
                case swarm_events.ConnectionClosed(connection, peer_id, reason, is_last):
                    self._on_closed(connection, peer_id, reason, is_last=is_last)
                case swarm_events.ResourceRefused(refusal, times):
                    logger.warning("refused: %s (%d times since the start)", refusal, times)
                case swarm_events.Fault(error):
                    self._fault_log.write(error, self._engine.now)
                case swarm_events.AddressObserved(peer_id, address, disposition, report, transport):
                    told = transport_multiaddr(address, transport)
                    observed = node_events.AddressObserved(peer_id, told, disposition, report)
                    self._feed.publish(observed)
                case swarm_events.PathChanged(connection, _, route):
                    self._streams.on_path_changed(connection, route)
                case swarm_events.PeerPathChanged(_, peer_id, route, why, by, is_limited):
                    there = via(route, by)
                    path = node_events.PathChanged(
                        peer_id, path_kind(route), there, why, by, is_limited
                    )
                    self._feed.publish(path)
                case swarm_events.ListenAddressesChanged():
                    self._feed.publish(node_events.ListenAddressesChanged(tuple(self.addresses)))
                case swarm_events.ReachabilityChanged(reachability, verdicts):
                    self._feed.publish(node_events.ReachabilityChanged(reachability, verdicts))
                case swarm_events.ReservationsChanged(relays, addresses):
                    self._feed.publish(node_events.ReservationsChanged(relays, addresses))
                case swarm_events.ClockSkewChanged(relay, ahead):
                    self._feed.publish(node_events.ClockSkewChanged(relay, ahead))
                case swarm_events.PunchEnded(_, peer_id, number, strategy, is_direct, reason):
                    ended = node_events.PunchEnded(peer_id, number, strategy, is_direct, reason)
                    self._feed.publish(ended)
                case (
                    swarm_events.DialEnded()
                    | swarm_events.ReversalEnded()
                    | swarm_events.RecordSigned()
                    | swarm_events.DatagramReceived()
                    | swarm_events.PeerFound()
                    | swarm_events.PeerNotFound()
                    | swarm_events.NatAnswered()
                ):
                    pass  # nothing of the shell waits for them
                case _:
                    assert_never(event)
        except Exception as error:
            served = swarm_events.connection_of(event)
            if served is None:
                raise
            self._swarm.give_up(served, error, self._engine.now)

    def _on_established(self, event: swarm_events.ConnectionEstablished) -> None:
        if event.peer_id in self._connected:
            return
        self._connected[event.peer_id] = trio.Event()
        route, transport = event.route, event.transport
        connected = node_events.PeerConnected(
            event.peer_id,
            event.is_initiator,
            path_kind(route),
            via(route, transport),
            transport,
            self._is_limited(event.connection),
        )
        self._feed.publish(connected)

    def _is_limited(self, connection: ConnectionHandle) -> bool:
        found = self._facts.connection(connection)
        return found is not None and found.is_limited

    def _on_closed(
        self, connection: ConnectionHandle, peer_id: PeerId, reason: P2PNodeError, *, is_last: bool
    ) -> None:
        self._streams.on_connection_closed(connection)
        self._pings.fail(connection, str(reason))
        self._identifies.fail(connection, str(reason))
        if is_last:
            gone = self._connected.pop(peer_id, None)
            if gone is not None:
                gone.set()
            self._feed.publish(node_events.PeerDisconnected(peer_id, reason))
