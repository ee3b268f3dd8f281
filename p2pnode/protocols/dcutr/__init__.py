"""DCUtR: a relayed connection becomes a direct one, by both ends punching at once (specs/dcutr.md).

    policy    when to begin a round, for every relayed peer
    dialogue  the round's messages and timing, both sides
    plan      what to send, to which addresses, by which strategy
    budget    how much of it may go out

The plan is a value: the transport sends it as probes of the relayed connection.
"""

from p2pnode.protocols.dcutr.budget import PunchBudget
from p2pnode.protocols.dcutr.dialogue import (
    DcutrInitiator,
    DcutrResponder,
    PunchAgreed,
    PunchNotAgreed,
)
from p2pnode.protocols.dcutr.plan import (
    PunchPlan,
    PunchProbe,
    Role,
    Strategy,
    make_plan,
    make_reversal,
    on_this_machine,
    punchable,
)
from p2pnode.protocols.dcutr.policy import (
    PunchPolicy,
    ResponderRounds,
    StartRound,
    TryReversal,
)

__all__ = [
    "PROTOCOL_ID",
    "DcutrInitiator",
    "DcutrResponder",
    "PunchAgreed",
    "PunchBudget",
    "PunchNotAgreed",
    "PunchPlan",
    "PunchPolicy",
    "PunchProbe",
    "ResponderRounds",
    "Role",
    "StartRound",
    "Strategy",
    "TryReversal",
    "make_plan",
    "make_reversal",
    "on_this_machine",
    "punchable",
]

PROTOCOL_ID = "/libp2p/dcutr"
MAX_INBOUND_STREAMS_PER_PEER = 2  # chosen: a round, and the next one before the last is gone
