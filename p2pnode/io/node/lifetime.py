"""Opens a node, keeps it running and ends it: `open_node`.

Rule: whatever ends the block, peers are told before the sockets close; full ones have LEAVE_TIMEOUT
for that.  Where it just ends, what was sent and finished arrives first; where it raises or is
cancelled, nothing else is waited for, and what it raised comes out as it is, not in a group.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Unpack, cast

import trio

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.control.server import serve_control
from p2pnode.io.default_ports import listen_by_default
from p2pnode.io.dial_target import DialTarget, bootstrap_targets
from p2pnode.io.folder.data_folder import RESET_SECRET_SIZE, DataFolder
from p2pnode.io.interfaces import (
    InterfaceAddress,
    read_interfaces,
    usable_ips,
    watch_interfaces,
)
from p2pnode.io.listen_address import listen_address
from p2pnode.io.listening import Listening, NodeSocket
from p2pnode.io.machine_memory import machine_memory
from p2pnode.io.node.arguments import check_type, given_peer_id, optional_path
from p2pnode.io.node.bootstrap import keep_all_connected
from p2pnode.io.node.config import NodeConfig, NodeSettings
from p2pnode.io.node.node import Node
from p2pnode.io.os_entropy import os_entropy, os_rng
from p2pnode.io.store.memory import VOLUME_INTERVAL, Memory
from p2pnode.io.store.records import Loaded, network_fingerprint
from p2pnode.io.store.store import Store
from p2pnode.io.tcp.links import TcpLinks
from p2pnode.io.tcp.sockets import TcpListener
from p2pnode.io.trace_files import TraceFiles, check_traces
from p2pnode.io.wall_clock import read_wall_clock, watch_wall_clock
from p2pnode.resources.limits import limits_for
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.transports.makers import all_makers
from p2pnode.transports.registry import Makers


@asynccontextmanager
async def open_node(
    config: NodeConfig | None = None, **settings: Unpack[NodeSettings]
) -> AsyncGenerator[Node, None]:
    """Yields a running node.  The settings are the fields of NodeConfig, and count before it.

    Raises ListenError, AddressError, DataFolderError, KeyFileError or TraceFileError; TypeError or
    ArgumentError for settings that are none.  At the end of the block, streams that were finished
    (`send_eof`, `aclose`) are delivered within DELIVERY_TIMEOUT, else it raises Undelivered.
    """
    if config is not None:
        check_type("config", config, NodeConfig)
    config = replace(config or NodeConfig(), **settings)
    with ExitStack() as stack:
        parts = _prepare(config, stack)
        async with run_node(parts) as node:
            yield node


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What a node is made of: all that it needs of the machine."""

    identity: PrivateKey
    config: SwarmConfig
    makers: Makers
    """Of its transports."""
    sockets: Sequence[NodeSocket]
    probe_sockets: Sequence[NodeSocket] = ()
    """For dial-backs."""
    listeners: Sequence[TcpListener] = ()
    """For the transport over links, where the node has one."""
    bootstrap: Sequence[DialTarget] = ()
    interfaces: tuple[InterfaceAddress, ...]
    protect: Sequence[PeerId] = ()
    watches_interfaces: bool = True
    control_path: Path | None = None
    store: Store | None = None
    """Where the node keeps what it learns; None for a node that forgets."""
    entropy: Entropy = os_entropy
    rng: Random
    read_wall_clock: Callable[[], UnixTime] = read_wall_clock
    key_log: Path | None = None
    qlog_dir: Path | None = None


@asynccontextmanager
async def run_node(parts: NodeParts) -> AsyncGenerator[Node, None]:
    """Yields a node made of these parts, until the block ends."""
    failure: BaseException | None = None
    node: Node | None = None
    links = None if parts.makers.over_links is None else TcpLinks()
    try:
        try:
            async with trio.open_nursery() as nursery:
                node = _make_node(parts, nursery, links)
                for peer_id in parts.protect:
                    node.protect(peer_id)
                nursery.start_soon(node.engine.driver.run)
                traces = TraceFiles(node.engine.swarm, parts.key_log, parts.qlog_dir)
                if parts.key_log or parts.qlog_dir:
                    nursery.start_soon(traces.run)
                if parts.watches_interfaces:
                    nursery.start_soon(_watch_interfaces, node, parts.interfaces)
                if node.memory is not None:
                    nursery.start_soon(_note_volume, node, node.memory)
                try:
                    if parts.control_path is not None:
                        await nursery.start(serve_control, node, parts.control_path)
                    # Last: who subscribes to events at once shall miss none of it.
                    if parts.bootstrap:
                        nursery.start_soon(keep_all_connected, node, parts.bootstrap)
                    yield node
                    await node.deliver()
                finally:
                    nursery.cancel_scope.cancel()
                    node.close()
                    if node.memory is not None:
                        node.memory.note_volume(node.engine.swarm.facts, node.engine.now)
                    traces.flush()
        finally:
            if node is not None:
                await node.engine.driver.finish()
            if links is not None:
                links.close()
    except BaseExceptionGroup as group:
        failure = _unwrapped(group)
    if failure is not None:
        raise failure


def _prepare(config: NodeConfig, stack: ExitStack) -> NodeParts:
    """Takes what the node needs; `stack` gives it back."""
    rng = os_rng()
    bootstrap = bootstrap_targets(config.bootstrap)  # what is wrong with them is told first
    identity, secret = config.identity, os_entropy(RESET_SECRET_SIZE)
    key_log = optional_path("key_log", config.key_log)
    qlog_dir = optional_path("qlog_dir", config.qlog_dir)
    check_traces(key_log, qlog_dir)
    folder: DataFolder | None = None
    store: Store | None = None
    data_folder = optional_path("data_folder", config.data_folder)
    if data_folder is not None:
        folder = DataFolder(data_folder)
        stack.enter_context(folder.locked())
        identity = identity or folder.load_or_create_key(os_entropy)
        secret = folder.load_or_create_reset_secret(os_entropy)
        store = Store(folder.path)
        stack.callback(store.close)
    transport = replace(
        config.transport, key_log=config.key_log is not None, qlog=config.qlog_dir is not None
    )
    makers = all_makers(transport, secret=secret, entropy=os_entropy, rng=rng)
    listening = Listening(stack)
    if config.listen is None:
        listen_by_default(listening, folder, rng, over_tcp=makers.over_links is not None)
    else:
        listening.at(map(listen_address, config.listen))
    listening.for_dial_backs()
    return NodeParts(
        identity=identity or PrivateKey.generate(os_entropy),
        config=_swarm_config(config),
        makers=makers,
        sockets=listening.sockets,
        probe_sockets=listening.probe_sockets,
        listeners=listening.listeners,
        bootstrap=bootstrap,
        protect=tuple(map(given_peer_id, config.protect)),
        interfaces=read_interfaces(),
        control_path=folder.control_socket if folder and config.control_socket else None,
        store=store,
        rng=rng,
        key_log=key_log,
        qlog_dir=qlog_dir,
    )


def _swarm_config(config: NodeConfig) -> SwarmConfig:
    return SwarmConfig(
        agent_version=config.agent_version,
        relay_mode=config.relay_mode,
        relay_limits=config.relay_limits,
        relay_access=config.relay_access,
        resources=config.resources or limits_for(machine_memory()),
    )


def _make_node(parts: NodeParts, nursery: trio.Nursery, links: TcpLinks | None) -> Node:
    now, unix_now = trio.current_time(), parts.read_wall_clock()
    memory, loaded, config = None, Loaded(), parts.config
    if parts.store is not None:
        fingerprint = network_fingerprint(usable_ips(parts.interfaces))
        memory = Memory(parts.store, fingerprint, now=now, unix_now=unix_now)
        loaded = memory.load(unix_now)
        config = replace(
            config,
            relayed_by_month={volume.month: volume.used for volume in loaded.volumes},
            last_record_seq=max((s.value for s in loaded.sequences), default=0),
        )
    swarm = Swarm(
        parts.identity,
        config=config,
        makers=parts.makers,
        entropy=parts.entropy,
        rng=parts.rng,
        now=now,
        unix_now=unix_now,
        isolates_faults=True,
    )
    node = Node(swarm, nursery, memory)
    nursery.start_soon(_watch_wall_clock, node, parts.read_wall_clock, now, unix_now)
    swarm.handle_interfaces_changed(usable_ips(parts.interfaces), now)
    for sock, local, is_listening in parts.sockets:
        node.engine.driver.add_socket(sock)
        swarm.add_socket(sock.socket_id, local, now, is_listening=is_listening)
    for sock, local, _ in parts.probe_sockets:
        node.engine.driver.add_socket(sock)
        swarm.add_probe_socket(sock.socket_id, local)
    if links is not None:
        node.engine.driver.carry_links(links)
        for listener in parts.listeners:
            links.add_listener(listener)
            swarm.add_listener(listener.socket_id, listener.local, now)
    if memory is not None:
        memory.restore(loaded, swarm, now)
    swarm.poll_events()  # nobody could have subscribed yet
    return node


async def _watch_interfaces(node: Node, known: tuple[InterfaceAddress, ...]) -> None:
    engine = node.engine

    def on_change(interfaces: tuple[InterfaceAddress, ...]) -> None:
        if node.memory is not None:
            node.memory.fingerprint = network_fingerprint(usable_ips(interfaces))
        engine.swarm.handle_interfaces_changed(usable_ips(interfaces), engine.now)
        engine.wake()

    def on_resume(_slept: float) -> None:
        engine.swarm.revalidate(engine.now)
        engine.wake()

    await watch_interfaces(on_change, on_resume, known=known)


async def _watch_wall_clock(
    node: Node, read: Callable[[], UnixTime], now: Instant, unix_now: UnixTime
) -> None:
    engine = node.engine

    def on_step(unix_now: UnixTime, now: Instant) -> None:
        if node.memory is not None:
            node.memory.handle_clock_changed(unix_now, now)
        engine.swarm.handle_clock_changed(unix_now, now)
        engine.wake()

    await watch_wall_clock(on_step, now=now, unix_now=unix_now, read=read)


async def _note_volume(node: Node, memory: Memory) -> None:
    while True:
        await trio.sleep(VOLUME_INTERVAL)
        memory.note_volume(node.engine.swarm.facts, node.engine.now)


def _unwrapped(failure: BaseException) -> BaseException:
    """Returns the only exception inside of groups, or the group that has several."""
    if not isinstance(failure, BaseExceptionGroup):
        return failure
    group = cast("BaseExceptionGroup[BaseException]", failure)
    inside = list(group.exceptions)
    return group if len(inside) > 1 else _unwrapped(inside[0])
