"""What the user of a node may set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from p2pnode.identity.keys import PrivateKey
from p2pnode.io.aead_preference import preferred_aeads
from p2pnode.protocols.relay import MODEST, AccessList, RelayLimits
from p2pnode.swarm.config import DEFAULT_AGENT_VERSION, RelayMode
from p2pnode.transport.config import TransportConfig
from p2pnode.wire.multiaddr import Multiaddr


def _default_transport() -> TransportConfig:
    return TransportConfig(aeads=preferred_aeads())


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Every field has a default; `open_node()` alone gives a node that listens."""

    identity: PrivateKey | None = None
    """None: the data folder's key, or without a folder one that is forgotten afterwards."""
    data_folder: Path | None = None
    """Where key, port and control socket are; locked while the node is open."""
    listen: Sequence[Multiaddr | str] | None = None
    """Addresses such as /ip4/0.0.0.0/udp/4001/noise; port 0 takes any.  None: all interfaces, IPv4
    and IPv6, on the data folder's port.  Empty: dial only."""
    bootstrap: Sequence[Multiaddr | str] = ()
    """Peers to be connected with all the time: by them the node is seen, helped and found."""
    relay_mode: RelayMode = RelayMode.WHEN_PUBLIC
    """Whether others may use this node as a relay."""
    relay_limits: RelayLimits = MODEST
    """What each of them, and all together, may use."""
    relay_access: AccessList = field(default_factory=AccessList)
    """Who may."""
    agent_version: str = DEFAULT_AGENT_VERSION
    """What identify tells of this program."""
    control_socket: bool = False
    """Whether other processes of this user may act through the node (specs/control.md).  Needs a
    data folder."""
    key_log: Path | None = None
    """File for the keys of connections, to decrypt captures with.  Whoever has it reads all."""
    qlog_dir: Path | None = None
    """Folder for a qlog file a connection."""
    transport: TransportConfig = field(default_factory=_default_transport)


class NodeSettings(TypedDict, total=False):
    """The fields of NodeConfig as keyword arguments."""

    identity: PrivateKey | None
    data_folder: Path | None
    listen: Sequence[Multiaddr | str] | None
    bootstrap: Sequence[Multiaddr | str]
    relay_mode: RelayMode
    relay_limits: RelayLimits
    relay_access: AccessList
    agent_version: str
    control_socket: bool
    key_log: Path | None
    qlog_dir: Path | None
    transport: TransportConfig
