"""identify and identify/push: who a peer says it is, and how it sees us (specs/identify.md)."""

from p2pnode.protocols.identify.dialogue import (
    Identified,
    IdentifyFailed,
    IdentifyRequester,
    IdentifyResponder,
    Pushed,
    PushReceiver,
    PushSender,
)
from p2pnode.protocols.identify.info import IdentifyInfo, apply_push
from p2pnode.protocols.identify.messages import IdentifyMessage
from p2pnode.protocols.identify.observed_addresses import (
    Disposition,
    Observation,
    ObservedAddressBook,
)
from p2pnode.protocols.identify.socket_evidence import (
    MappingKind,
    ObservedAddress,
    SocketReport,
)

__all__ = [
    "PROTOCOL_ID",
    "PUSH_PROTOCOL_ID",
    "Disposition",
    "Identified",
    "IdentifyFailed",
    "IdentifyInfo",
    "IdentifyMessage",
    "IdentifyRequester",
    "IdentifyResponder",
    "MappingKind",
    "Observation",
    "ObservedAddress",
    "ObservedAddressBook",
    "PushReceiver",
    "PushSender",
    "Pushed",
    "SocketReport",
    "apply_push",
]

PROTOCOL_ID = "/ipfs/id/1.0.0"
PUSH_PROTOCOL_ID = "/ipfs/id/push/1.0.0"
MAX_INBOUND_STREAMS_PER_PEER = 16  # go-libp2p's resource manager
