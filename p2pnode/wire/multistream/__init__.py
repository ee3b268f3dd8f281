"""multistream-select 1.0: which protocol a stream carries (specs/multistream.md)."""

from p2pnode.wire.multistream.negotiation import (
    Agreed,
    Failed,
    Initiator,
    Outcome,
    ProposalRefused,
    Responder,
)

__all__ = ["Agreed", "Failed", "Initiator", "Outcome", "ProposalRefused", "Responder"]
