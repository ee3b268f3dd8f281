"""Runs a netcheck over real sockets, and finds peers for it to begin with.

Rule: every socket is opened for the check and closed after it; a node that runs on the same machine
is asked for peers, and otherwise left alone.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

import trio

from p2pnode.clock import UnixTime
from p2pnode.errors import AddressError, DataFolderError, ListenError, P2PNodeError
from p2pnode.io.aead_preference import preferred_aeads
from p2pnode.io.control.client import ControlClient
from p2pnode.io.dial_target import Target, dial_target, no_address_error
from p2pnode.io.driver import Driver
from p2pnode.io.folder.data_folder import RESET_SECRET_SIZE, DataFolder
from p2pnode.io.interfaces import read_interfaces, usable_ips
from p2pnode.io.listen_address import WILDCARDS
from p2pnode.io.node.fault_log import FaultLog
from p2pnode.io.os_entropy import os_entropy, os_rng
from p2pnode.io.resolver import resolve
from p2pnode.io.store.store import FILE_NAME, Store
from p2pnode.io.udp.open import open_udp_socket
from p2pnode.io.udp.plain import UdpSocket
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netcheck.netcheck import Bootstrap, Netcheck, NetcheckDone, NetcheckEvent
from p2pnode.netcheck.report import NetcheckReport
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import Fault
from p2pnode.transports.noise_udp.config import TransportConfig

MAX_BOOTSTRAP: Final = 12
"""peers to begin with; as many as a check dials"""


async def run_netcheck(
    targets: Sequence[Target], *, wants_lifetime: bool = False
) -> NetcheckReport:
    """Finds out how this machine's NAT behaves, from these peers and those that they know.

    Takes less than 10 s, or minutes where the lifetime of mappings is wanted.  Raises AddressError
    where no target gives an address, ListenError where there is no UDP.  Cancel-safe.
    """
    bootstrap = await _resolved(targets[:MAX_BOOTSTRAP])
    done = trio.Event()
    reports: list[NetcheckReport] = []
    fault_log = FaultLog()

    def dispatch(event: NetcheckEvent) -> None:
        match event:
            case NetcheckDone(report):
                reports.append(report)
                done.set()
            case Fault(error):
                fault_log.write(error, trio.current_time())

    now = trio.current_time()
    netcheck = Netcheck(
        SwarmConfig(relay_mode=RelayMode.OFF),
        TransportConfig(aeads=preferred_aeads()),
        bootstrap=bootstrap,
        wants_lifetime=wants_lifetime,
        secret=os_entropy(RESET_SECRET_SIZE),
        entropy=os_entropy,
        rng=os_rng(),
        now=now,
        unix_now=UnixTime(time.time()),
        isolates_faults=True,
    )
    driver = Driver(netcheck, dispatch)
    with ExitStack() as stack:
        _open_sockets(netcheck, driver, stack)
        netcheck.handle_interfaces_changed(usable_ips(read_interfaces()), trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver.run)
                netcheck.begin(trio.current_time())
                driver.drain()
                await done.wait()
                nursery.cancel_scope.cancel()
        finally:
            netcheck.close(trio.current_time())
            await driver.finish()
    return reports[0]


async def known_peers(folder: Path, control_socket: Path | None) -> list[str]:
    """Returns peers to begin with: those of the running node, or those that it remembers.

    Raises P2PNodeError where a running node does not answer.
    """
    if control_socket is not None:
        client = ControlClient(control_socket)
        if await client.try_info() is not None:
            connections = (await client.status()).connections
            direct = [c for c in connections if c.path == "direct"]
            return [f"{c.via}/p2p/{c.peer}" for c in direct][:MAX_BOOTSTRAP]
    return _remembered_peers(folder)


def _remembered_peers(folder: Path) -> list[str]:
    """Returns those whose own word, or a dial that worked, is in the data folder."""
    if not (folder / FILE_NAME).exists():
        return []
    try:
        with DataFolder(folder).locked():
            store = Store(folder)
            try:
                loaded = store.load(UnixTime(time.time()), "")
            finally:
                store.close()
    except DataFolderError:
        return []  # another program has it, or it cannot be read: as if nothing were there
    found: dict[str, str] = {}
    for record in reversed(loaded.addresses):
        if record.source != AddressSource.HEARSAY.value and "/p2p-circuit" not in record.address:
            found.setdefault(record.peer, f"{record.address}/p2p/{record.peer}")
    return list(found.values())[:MAX_BOOTSTRAP]


async def _resolved(targets: Sequence[Target]) -> list[Bootstrap]:
    """Returns the targets as addresses without names.  Raises AddressError where none is left."""
    found: list[Bootstrap] = []
    failure: P2PNodeError | None = None
    for given in targets:
        try:
            target = dial_target(given)
            if target.address is None:
                raise no_address_error(target)
            addresses = await resolve(target.address)
        except AddressError as exc:
            failure = exc
            continue
        found += [Bootstrap(target.peer_id, address) for address in addresses]
    if not found:
        raise failure or AddressError("a netcheck needs the address of a peer to begin with")
    return found[:MAX_BOOTSTRAP]


def _open_sockets(netcheck: Netcheck, driver: Driver[NetcheckEvent], stack: ExitStack) -> None:
    """Opens what the check wants for each IP version that there is.  Raises ListenError."""
    ids = map(SocketId, count())
    failure: ListenError | None = None
    is_any_open = False
    for wildcard in WILDCARDS:
        wanted = 2 + netcheck.measuring_sockets_wanted
        try:
            sockets = [_open(wildcard, next(ids), stack) for _ in range(wanted)]
        except ListenError as exc:
            failure = exc
            continue
        is_any_open = True
        main, probe, *measuring_sockets = sockets
        netcheck.add_main_socket(main.socket_id, main.local, trio.current_time())
        netcheck.add_probe_socket(probe.socket_id, probe.local)
        for measuring in measuring_sockets:
            netcheck.add_measuring_socket(measuring.socket_id, measuring.local)
        for sock in sockets:
            driver.add_socket(sock)
    if not is_any_open and failure is not None:
        raise failure


def _open(wildcard: str, socket_id: SocketId, stack: ExitStack) -> UdpSocket:
    sock = open_udp_socket(SocketAddr(wildcard, 0), socket_id)
    stack.callback(sock.close)
    return sock
