"""Runs a netcheck over real sockets.

Rule: every socket is opened for the check and closed after it.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count

import trio

from p2pnode.clock import UnixTime
from p2pnode.errors import AddressError, ListenError, P2PNodeError
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.aead_preference import preferred_aeads
from p2pnode.io.dial_target import Target, dial_target, no_address_error
from p2pnode.io.driver import Driver
from p2pnode.io.folder.data_folder import RESET_SECRET_SIZE
from p2pnode.io.interfaces import read_interfaces, usable_ips
from p2pnode.io.listen_address import WILDCARDS
from p2pnode.io.netcheck_peers import MAX_BOOTSTRAP
from p2pnode.io.node.fault_log import FaultLog
from p2pnode.io.os_entropy import os_entropy, os_rng
from p2pnode.io.resolver import resolve
from p2pnode.io.tcp.reached import hosts_reached
from p2pnode.io.udp.open import open_udp_socket
from p2pnode.io.udp.plain import UdpSocket
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netcheck.netcheck import Bootstrap, Netcheck, NetcheckDone, NetcheckEvent
from p2pnode.netcheck.report import NetcheckReport
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import Fault
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.transport_name import TransportName


async def run_netcheck(
    targets: Sequence[Target], *, wants_lifetime: bool = False
) -> NetcheckReport:
    """Finds out how this machine's NAT behaves, from these peers and those that they know.

    It is UDP that is checked; where nothing is heard, it looks whether TCP gets through to them.
    Takes less than 10 s, or minutes where the lifetime of mappings is wanted.  Raises AddressError
    where no target gives an address over UDP, ListenError where there is no UDP.  Cancel-safe.
    """
    over_udp, over_tcp = await _resolved(targets[:MAX_BOOTSTRAP])
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
        bootstrap=over_udp,
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
    (report,) = reports
    if report.silence is None:
        return report
    return report.with_tcp(await hosts_reached(over_tcp))


async def _resolved(targets: Sequence[Target]) -> tuple[list[Bootstrap], list[SocketAddr]]:
    """Returns the targets over UDP, without names, and where they may be reached over TCP.

    A peer has one port number for both where it is not told another one.  Raises AddressError where
    nothing is left.
    """
    found: list[Bootstrap] = []
    places: list[SocketAddr] = []
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
        for address in addresses:
            parts = transport_addr(address)
            if parts is not None and parts.socket_addr is not None:
                places.append(parts.socket_addr)
            if parts is None or parts.transport.carrier == "udp":
                found.append(Bootstrap(target.peer_id, address))
    if not found:
        example = TransportName.NOISE_UDP.example
        raise failure or AddressError(
            f"a netcheck is one of UDP: give the address of a peer to begin with, such as {example}"
        )
    return found[:MAX_BOOTSTRAP], places[:MAX_BOOTSTRAP]


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
