"""How a peer's NAT behaves, as far as the peer knows, and knocks (specs/nat_behaviour.md).

    facts     what a node knows of its own NAT, in RFC 4787's words
    messages  requests, answers and the knock's datagram
    dialogue  both sides of a stream

Three questions.  The report: what is your NAT like, and which other port do you have?  The knock:
send a datagram from that other port to a port of mine, so that I see who is let in.  The place:
where did the datagram come from that I sent to your other port?
"""

from p2pnode.protocols.nat_behaviour.dialogue import (
    Answered,
    NatRequester,
    NatRequestFailed,
    NatResponder,
)
from p2pnode.protocols.nat_behaviour.facts import (
    UNKNOWN_FACTS,
    Dependence,
    NatFacts,
    PortAllocation,
)
from p2pnode.protocols.nat_behaviour.messages import (
    KNOCK_FIRST_BYTE,
    KNOCK_SIZE,
    LOWEST_KNOCK_PORT,
    NONCE_SIZE,
    KnockRequest,
    LocateRequest,
    NatAnswer,
    NatRequest,
    NatStatus,
    ReportRequest,
    encode_knock,
)

__all__ = [
    "KNOCK_FIRST_BYTE",
    "KNOCK_SIZE",
    "LOWEST_KNOCK_PORT",
    "MAX_INBOUND_STREAMS_PER_PEER",
    "NONCE_SIZE",
    "PROTOCOL_ID",
    "UNKNOWN_FACTS",
    "Answered",
    "Dependence",
    "KnockRequest",
    "LocateRequest",
    "NatAnswer",
    "NatFacts",
    "NatRequest",
    "NatRequestFailed",
    "NatRequester",
    "NatResponder",
    "NatStatus",
    "PortAllocation",
    "ReportRequest",
    "encode_knock",
]

PROTOCOL_ID = "/p2pnode/nat/1.0.0"
MAX_INBOUND_STREAMS_PER_PEER = 16  # chosen: a netcheck asks for several knocks at once
