"""AutoNAT v1 and v2 and delegated dial-back: would a stranger's packet arrive? (specs/autonat.md)

Reading order: outcomes, reachability (what is asked), v1_dialogue, v2_requester, v2_server (how
libp2p asks), delegated_asker, delegated_server, delegated_helper (how we ask), dialable, budget
(whom a server serves), tracker, server_choice (when and whom to ask).
"""

from p2pnode.protocols.autonat.budget import (
    DELEGATION_LIMITS,
    HELPER_LIMITS,
    V1_LIMITS,
    V2_LIMITS,
    Budget,
    RateLimits,
)
from p2pnode.protocols.autonat.contact_log import ContactLog
from p2pnode.protocols.autonat.delegated_asker import DelegatedAsker, HelperResult, ProbeResult
from p2pnode.protocols.autonat.delegated_helper import OrderReceiver, OrderSender, ProbeDatagram
from p2pnode.protocols.autonat.delegated_messages import (
    PROBE_FIRST_BYTE,
    PROBE_SIZE,
    HelperStatus,
    decode_probe_untrusted,
)
from p2pnode.protocols.autonat.delegated_server import DelegatedServer, Helper, HelperOrder
from p2pnode.protocols.autonat.dialable import Asker, DialAbility
from p2pnode.protocols.autonat.messages_v1 import StatusV1
from p2pnode.protocols.autonat.messages_v2 import DialStatus, ResponseStatus
from p2pnode.protocols.autonat.outcomes import (
    Doubt,
    Inconclusive,
    NotReached,
    ProbeOutcome,
    Prober,
    Reached,
)
from p2pnode.protocols.autonat.reachability import (
    Evidence,
    Reachability,
    Verdict,
    evidence_of_helpers,
    evidence_of_outcome,
)
from p2pnode.protocols.autonat.server_choice import Method, PossibleServer, ServerChoice
from p2pnode.protocols.autonat.tracker import AddressTracker
from p2pnode.protocols.autonat.v1_dialogue import DialOrder, V1Requester, V1Server
from p2pnode.protocols.autonat.v2_requester import DialBackReceiver, V2Requester
from p2pnode.protocols.autonat.v2_server import DialBackOrder, DialBackSender, V2Server

__all__ = [
    "DELEGATION_LIMITS",
    "DELEGATION_PROTOCOL_ID",
    "DIAL_BACK_PROTOCOL_ID",
    "DIAL_REQUEST_PROTOCOL_ID",
    "HELPER_LIMITS",
    "HELPER_PROTOCOL_ID",
    "PROBE_FIRST_BYTE",
    "PROBE_SIZE",
    "V1_LIMITS",
    "V1_PROTOCOL_ID",
    "V2_LIMITS",
    "AddressTracker",
    "Asker",
    "Budget",
    "ContactLog",
    "DelegatedAsker",
    "DelegatedServer",
    "DialAbility",
    "DialBackOrder",
    "DialBackReceiver",
    "DialBackSender",
    "DialOrder",
    "DialStatus",
    "Doubt",
    "Evidence",
    "Helper",
    "HelperOrder",
    "HelperResult",
    "HelperStatus",
    "Inconclusive",
    "Method",
    "NotReached",
    "OrderReceiver",
    "OrderSender",
    "PossibleServer",
    "ProbeDatagram",
    "ProbeOutcome",
    "ProbeResult",
    "Prober",
    "RateLimits",
    "Reachability",
    "Reached",
    "ResponseStatus",
    "ServerChoice",
    "StatusV1",
    "V1Requester",
    "V1Server",
    "V2Requester",
    "V2Server",
    "Verdict",
    "decode_probe_untrusted",
    "evidence_of_helpers",
    "evidence_of_outcome",
]

V1_PROTOCOL_ID = Method.V1.value
DIAL_REQUEST_PROTOCOL_ID = Method.V2.value
DIAL_BACK_PROTOCOL_ID = "/libp2p/autonat/2/dial-back"
DELEGATION_PROTOCOL_ID = Method.DELEGATED.value
HELPER_PROTOCOL_ID = "/p2pnode/dial-back/help/1.0.0"
MAX_INBOUND_STREAMS_PER_PEER = 2  # of each protocol; go-libp2p's resource manager
