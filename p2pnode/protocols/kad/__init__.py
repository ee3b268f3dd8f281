"""Kademlia's FIND_NODE, one hop: where is a peer, and whom else do you know (specs/kad.md).

    distance  whose ids are near to a key
    messages  the request and its answer
    dialogue  both sides of a stream
    lookup    whom to ask for a peer, and when enough have been asked

What an answer says is hearsay: nobody has signed it, so it is good for a dial and nothing else.
"""

from p2pnode.protocols.kad.dialogue import (
    FindNodeFailed,
    FindNodeRequester,
    FindNodeResponder,
    Found,
)
from p2pnode.protocols.kad.distance import closest
from p2pnode.protocols.kad.lookup import Lookup
from p2pnode.protocols.kad.messages import MAX_CLOSER_PEERS, CloserPeer, ConnectionType

__all__ = [
    "MAX_CLOSER_PEERS",
    "MAX_INBOUND_STREAMS_PER_PEER",
    "PROTOCOL_ID",
    "CloserPeer",
    "ConnectionType",
    "FindNodeFailed",
    "FindNodeRequester",
    "FindNodeResponder",
    "Found",
    "Lookup",
    "closest",
]

PROTOCOL_ID = "/p2pnode/kad/1.0.0"
MAX_INBOUND_STREAMS_PER_PEER = 4  # chosen: a lookup or two, a sample, and one that is ending
