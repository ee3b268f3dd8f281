"""Whom a netcheck begins with where none is given: peers of the running node, or remembered ones.

Rule: a node that runs on the same machine is asked for peers, and otherwise left alone.  What is
checked is UDP: of a peer that is connected otherwise, its own word on the same host counts.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2pnode.clock import UnixTime
from p2pnode.errors import AddressError, DataFolderError, P2PNodeError
from p2pnode.identity.transport_addr import TransportAddr, transport_addr, transport_multiaddr
from p2pnode.io.control.client import ControlClient
from p2pnode.io.control.messages import IdentifyReport
from p2pnode.io.folder.data_folder import DataFolder
from p2pnode.io.store.store import FILE_NAME, Store
from p2pnode.protocols.nat_behaviour import PROTOCOL_ID
from p2pnode.swarm.address_book import AddressSource
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.transport_name import TransportName

MAX_BOOTSTRAP: Final = 12
"""peers to begin with; as many as a check dials"""

MAX_ASKED: Final = 4
"""peers that are asked for their addresses over UDP; chosen: three tell everything"""


async def known_peers(folder: Path, control_socket: Path | None) -> list[str]:
    """Returns peers to begin with: those of the running node, or those that it remembers.

    Raises P2PNodeError where a running node does not answer.
    """
    if control_socket is not None:
        client = ControlClient(control_socket)
        if await client.try_info() is not None:
            connections = (await client.status()).connections
            direct = [f"{c.via}/p2p/{c.peer}" for c in connections if c.path == "direct"]
            over_udp = [target for target in direct if _checked(target) is not None]
            return (over_udp or await _told_by(client, direct))[:MAX_BOOTSTRAP]
    return _remembered_peers(folder)


async def _told_by(client: ControlClient, targets: Sequence[str]) -> list[str]:
    """Returns what peers that are connected over TCP say of the same host's UDP."""
    found: list[str] = []
    for target in targets[:MAX_ASKED]:
        with suppress(P2PNodeError):
            found += _over_udp(target, await client.identify(target))
    return found


def _over_udp(target: str, told: IdentifyReport) -> list[str]:
    """Returns a peer's addresses over UDP on the host where it is connected over TCP.

    Where it says none, it has the same number there if it is one that can be checked with.
    """
    here = _parts(target)
    if here is None or here.socket_addr is None:
        return []
    checked = ((address, _checked(address)) for address in told.listen_addrs)
    said = [address for address, parts in checked if parts and parts.host == here.host]
    if not said and PROTOCOL_ID in told.protocols:
        said = [str(transport_multiaddr(here.socket_addr, TransportName.NOISE_UDP))]
    return [f"{address}/p2p/{told.peer_id}" for address in said]


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
        if record.source != AddressSource.HEARSAY.value and _checked(record.address) is not None:
            found.setdefault(record.peer, f"{record.address}/p2p/{record.peer}")
    return list(found.values())[:MAX_BOOTSTRAP]


def _checked(address: str) -> TransportAddr | None:
    """Returns the parts of what a check can dial, or None for any other address."""
    parts = _parts(address)
    is_checked = parts is not None and parts.is_ip and parts.transport is TransportName.NOISE_UDP
    return parts if is_checked else None


def _parts(address: str) -> TransportAddr | None:
    try:
        return transport_addr(parse_multiaddr(address))
    except AddressError:
        return None
