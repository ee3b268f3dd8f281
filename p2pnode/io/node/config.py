"""What the user of a node may set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.aead_preference import preferred_aeads
from p2pnode.io.node.arguments import (
    PathLike,
    check_addresses,
    check_type,
    given_peer_id,
    optional_path,
)
from p2pnode.protocols.relay import MODEST, AccessList, RelayLimits
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm.config import DEFAULT_AGENT_VERSION, RelayMode
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.multiaddr import Multiaddr


def _default_transport() -> TransportConfig:
    return TransportConfig(aeads=preferred_aeads())


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Every field has a default; `open_node()` alone gives a node that listens."""

    identity: PrivateKey | None = None
    """None: the data folder's key, or without a folder one that is forgotten afterwards."""
    data_folder: PathLike | None = None
    """Where key, port and control socket are; locked while the node is open."""
    listen: Sequence[Multiaddr | str] | None = None
    """Addresses such as /ip4/0.0.0.0/udp/4001/noise and /ip4/0.0.0.0/tcp/4001; port 0 takes any.
    None: all interfaces, IPv4 and IPv6, on the data folder's port of UDP and TCP.  Empty: dial
    only."""
    bootstrap: Sequence[Multiaddr | str] = ()
    """Peers to be connected with all the time: by them the node is seen, helped and found."""
    resources: ResourceLimits | None = None
    """What others may hold of this node.  None: by the memory that this process may have."""
    protect: Sequence[PeerId | str] = ()
    """Peers that keep their places, and get one, when there are too many who come."""
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
    key_log: PathLike | None = None
    """File for the keys of connections, to decrypt captures with.  Whoever has it reads all."""
    qlog_dir: PathLike | None = None
    """Folder for a qlog file a connection."""
    transport: TransportConfig = field(default_factory=_default_transport)

    def __post_init__(self) -> None:
        """Raises TypeError or ArgumentError."""
        check_type("identity", self.identity, PrivateKey, type(None))
        for name in ("data_folder", "key_log", "qlog_dir"):
            optional_path(name, getattr(self, name))
        if self.listen is not None:
            check_addresses("listen", self.listen)
        check_addresses("bootstrap", self.bootstrap)
        check_type("resources", self.resources, ResourceLimits, type(None))
        check_type("protect", self.protect, Sequence)
        for peer_id in self.protect:
            given_peer_id(peer_id)
        check_type("relay_mode", self.relay_mode, RelayMode)
        check_type("relay_limits", self.relay_limits, RelayLimits)
        check_type("relay_access", self.relay_access, AccessList)
        check_type("agent_version", self.agent_version, str)
        check_type("control_socket", self.control_socket, bool)
        check_type("transport", self.transport, TransportConfig)


class NodeSettings(TypedDict, total=False):
    """The fields of NodeConfig as keyword arguments."""

    identity: PrivateKey | None
    data_folder: PathLike | None
    listen: Sequence[Multiaddr | str] | None
    bootstrap: Sequence[Multiaddr | str]
    resources: ResourceLimits | None
    protect: Sequence[PeerId | str]
    relay_mode: RelayMode
    relay_limits: RelayLimits
    relay_access: AccessList
    agent_version: str
    control_socket: bool
    key_log: PathLike | None
    qlog_dir: PathLike | None
    transport: TransportConfig
