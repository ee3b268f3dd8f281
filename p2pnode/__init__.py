"""p2pnode: a libp2p-style overlay node on trio, where peers help each other through NATs.

    async with p2pnode.open_node() as node:
        stream = await node.open_stream(address, "/echo/1.0.0")

The names below are the public ones.  They are imported when first used, so that the layers without
I/O (specs/README.md) can be imported without trio.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pnode.errors import (
        AddressError,
        ArgumentError,
        ConnectionLost,
        DataFolderError,
        DataFolderInUse,
        DialError,
        DialTimeout,
        KeyFileError,
        ListenError,
        NoAnswer,
        P2PNodeError,
        PeerBusy,
        PeerIdMismatch,
        ProtocolNotSupported,
        StreamReset,
        StreamStopped,
        TraceFileError,
        Undelivered,
    )
    from p2pnode.identity.keys import PrivateKey
    from p2pnode.identity.peer_id import PeerId
    from p2pnode.io.node.config import NodeConfig
    from p2pnode.io.node.connection_info import ConnectionInfo
    from p2pnode.io.node.events import (
        AddressObserved,
        BootstrapFailed,
        ClockSkewChanged,
        EventsDropped,
        ListenAddressesChanged,
        NodeEvent,
        PathChanged,
        PeerConnected,
        PeerDisconnected,
        PeerIdentified,
        PunchEnded,
        ReachabilityChanged,
        ReservationsChanged,
    )
    from p2pnode.io.node.lifetime import open_node
    from p2pnode.io.node.node import Node
    from p2pnode.io.node.pings import PingLost, Pong
    from p2pnode.io.node.stream import Stream
    from p2pnode.protocols.identify import IdentifyInfo
    from p2pnode.swarm.config import RelayMode
    from p2pnode.testbed.sim_node import SimNode
    from p2pnode.wire.multiaddr import Multiaddr

__all__ = [
    "AddressError",
    "AddressObserved",
    "ArgumentError",
    "BootstrapFailed",
    "ClockSkewChanged",
    "ConnectionInfo",
    "ConnectionLost",
    "DataFolderError",
    "DataFolderInUse",
    "DialError",
    "DialTimeout",
    "EventsDropped",
    "IdentifyInfo",
    "KeyFileError",
    "ListenAddressesChanged",
    "ListenError",
    "Multiaddr",
    "NoAnswer",
    "Node",
    "NodeConfig",
    "NodeEvent",
    "P2PNodeError",
    "PathChanged",
    "PeerBusy",
    "PeerConnected",
    "PeerDisconnected",
    "PeerId",
    "PeerIdMismatch",
    "PeerIdentified",
    "PingLost",
    "Pong",
    "PrivateKey",
    "ProtocolNotSupported",
    "PunchEnded",
    "ReachabilityChanged",
    "RelayMode",
    "ReservationsChanged",
    "SimNode",
    "Stream",
    "StreamReset",
    "StreamStopped",
    "TraceFileError",
    "Undelivered",
    "open_node",
]

_NODE_EVENTS = "p2pnode.io.node.events"
_ERRORS = "p2pnode.errors"
_MODULES = {
    "AddressError": _ERRORS,
    "AddressObserved": _NODE_EVENTS,
    "ArgumentError": _ERRORS,
    "BootstrapFailed": _NODE_EVENTS,
    "ClockSkewChanged": _NODE_EVENTS,
    "ConnectionInfo": "p2pnode.io.node.connection_info",
    "ConnectionLost": _ERRORS,
    "DataFolderError": _ERRORS,
    "DataFolderInUse": _ERRORS,
    "DialError": _ERRORS,
    "DialTimeout": _ERRORS,
    "EventsDropped": _NODE_EVENTS,
    "IdentifyInfo": "p2pnode.protocols.identify",
    "KeyFileError": _ERRORS,
    "ListenAddressesChanged": _NODE_EVENTS,
    "ListenError": _ERRORS,
    "Multiaddr": "p2pnode.wire.multiaddr",
    "NoAnswer": _ERRORS,
    "Node": "p2pnode.io.node.node",
    "NodeConfig": "p2pnode.io.node.config",
    "NodeEvent": _NODE_EVENTS,
    "P2PNodeError": _ERRORS,
    "PathChanged": _NODE_EVENTS,
    "PeerBusy": _ERRORS,
    "PeerConnected": _NODE_EVENTS,
    "PeerDisconnected": _NODE_EVENTS,
    "PeerId": "p2pnode.identity.peer_id",
    "PeerIdMismatch": _ERRORS,
    "PeerIdentified": _NODE_EVENTS,
    "PingLost": "p2pnode.io.node.pings",
    "Pong": "p2pnode.io.node.pings",
    "PrivateKey": "p2pnode.identity.keys",
    "ProtocolNotSupported": _ERRORS,
    "PunchEnded": _NODE_EVENTS,
    "ReachabilityChanged": _NODE_EVENTS,
    "RelayMode": "p2pnode.swarm.config",
    "ReservationsChanged": _NODE_EVENTS,
    "SimNode": "p2pnode.testbed.sim_node",
    "Stream": "p2pnode.io.node.stream",
    "StreamReset": _ERRORS,
    "StreamStopped": _ERRORS,
    "TraceFileError": _ERRORS,
    "Undelivered": _ERRORS,
    "open_node": "p2pnode.io.node.lifetime",
}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
