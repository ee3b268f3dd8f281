"""What AutoNAT's evidence says of the filter before this node (RFC 4787 section 5).

    who knocks, from where                              heard means
    a stranger                                          the filter is endpoint-independent
    an acquaintance, from a port not written to         it is no stricter than address-dependent
    (it sees us at that very address)

Rule: silence of an acquaintance counts only where it sees this node at the address that was tried;
at another peer's mapping it is a stranger too.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from p2pnode.protocols.autonat import Evidence, Prober, Reachability, Verdict
from p2pnode.wire.multiaddr import Multiaddr

ENDPOINT_INDEPENDENT = "endpoint-independent"
ADDRESS_DEPENDENT = "address-dependent"
ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
UNKNOWN = "unknown"


class Filtering(NamedTuple):
    """The filter's behaviour in RFC 4787's words, or "unknown", and why."""

    behaviour: str
    why: str


def filtering_of(
    verdicts: Sequence[tuple[Multiaddr, Verdict]],
    observers: Collection[tuple[Multiaddr, str]],
) -> Filtering:
    """Returns what the verdicts amount to.

    `observers` are the witnesses that saw this node at the address they were asked to try.
    """
    if not verdicts:
        return Filtering(UNKNOWN, "no peer has said yet where it sees this node")
    for _, verdict in verdicts:
        if verdict.reachability is Reachability.PUBLIC:
            return Filtering(ENDPOINT_INDEPENDENT, verdict.why)
    closed = [(a, v) for a, v in verdicts if v.reachability is Reachability.PRIVATE]
    if not closed:
        return Filtering(UNKNOWN, verdicts[0][1].why)
    let_in, kept_out = 0, 0
    for address, verdict in closed:
        for piece in verdict.evidence:
            if piece.prober is Prober.ACQUAINTANCE:
                let_in += piece.is_heard
                kept_out += _is_kept_out(address, piece, observers)
    if let_in:
        why = f"{closed[0][1].why}, but {_peers(let_in)} got in from another port"
        return Filtering(ADDRESS_DEPENDENT, why)
    if kept_out:
        why = f"{_peers(kept_out)} did not get in from another port"
        return Filtering(ADDRESS_AND_PORT_DEPENDENT, why)
    return Filtering(
        UNKNOWN, f"{closed[0][1].why}; no peer that this node knows has tried another port"
    )


def _is_kept_out(
    address: Multiaddr, piece: Evidence, observers: Collection[tuple[Multiaddr, str]]
) -> bool:
    return not piece.is_heard and (address, piece.witness) in observers


def _peers(count: int) -> str:
    return "a peer that this node had contacted" if count == 1 else f"{count} contacted peers"
