"""Why data goes to a peer the way it goes: which NAT property, on which side, is the cause.

    explain(*, peer_id: PeerId, path: "direct" | "relayed" | None, ours: NatFacts,
            theirs: NatFacts | None, attempts: Sequence[PunchAttempt],
            silence: Silence | None = None, now: Instant | None = None) -> Explanation

    Explanation(peer_id, path, verdict: str, side: "ours" | "theirs" | "both" | None,
                property: str | None, attempts: tuple[PunchAttempt, ...])

    PunchAttempts().add(peer_id, PunchAttempt(at, round, strategy, is_direct, reason))
    PunchAttempts().of(peer_id) -> tuple[PunchAttempt, ...], oldest first

`ours` is `NatService.own_facts(now)`, `theirs` is `NatService.theirs(peer_id)`.  With `now` the
verdict says how long ago things were.

The rule (specs/nat_behaviour.md, Explanations): plain punching fails exactly where one side's
mapping depends on the endpoint and the other side's filter looks at ports, for then the port that
packets come from is never the one that was let in.  What is not known is said, never guessed.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.nat_behaviour import Dependence, NatFacts
from p2pnode.protocols.nat_behaviour.udp_silence import Silence, silence_text

MAX_ATTEMPTS: Final = 12
"""kept of one peer, the oldest goes; chosen: four times three rounds"""
MAX_PEERS: Final = 1024
"""with attempts, who was tried longest ago goes; chosen: as many as reports are kept of"""

Side: TypeAlias = Literal["ours", "theirs", "both"]
Path: TypeAlias = Literal["direct", "relayed"]

UDP_BLOCKED: Final = "UDP blocked"
UDP_SILENT: Final = "nothing heard over UDP"

_MINUTE = 60.0
_HOUR = 3600.0


class PunchAttempt(NamedTuple):
    """One round of hole punching."""

    at: Instant
    """When it was over."""
    round: int
    strategy: str
    is_direct: bool
    reason: str
    """Why there is no direct path; empty where there is one."""


class PunchAttempts:
    """The last rounds with each peer."""

    def __init__(self) -> None:
        self._of = Bounded[PeerId, deque[PunchAttempt]](MAX_PEERS)

    def add(self, peer_id: PeerId, attempt: PunchAttempt) -> None:
        """Keeps an attempt, and forgets the oldest where there are too many."""
        attempts = self._of.get(peer_id) or deque(maxlen=MAX_ATTEMPTS)
        attempts.append(attempt)
        self._of[peer_id] = attempts

    def of(self, peer_id: PeerId) -> tuple[PunchAttempt, ...]:
        """Returns the attempts with a peer, oldest first."""
        return tuple(self._of.get(peer_id, ()))


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of `p2pnode why`."""

    peer_id: PeerId
    path: Path | None
    verdict: str
    """One sentence."""
    side: Side | None
    """Whose property is the cause; None where there is none, or none is known."""
    property: str | None
    """What decides; without a `side` it is only what is seen."""
    attempts: tuple[PunchAttempt, ...]


class _Cause(NamedTuple):
    verdict: str
    side: Side | None = None
    property: str | None = None


def explain(
    *,
    peer_id: PeerId,
    path: Path | None,
    ours: NatFacts,
    theirs: NatFacts | None,
    attempts: Sequence[PunchAttempt],
    silence: Silence | None = None,
    now: Instant | None = None,
) -> Explanation:
    """Returns why the path is what it is; `path` is None where there is no connection.

    `silence` is `ServiceFacts.udp_silence(now)`.
    """
    if path == "direct":
        cause = _over_tcp(silence) or _direct(attempts, now)
    else:
        cause = (
            _silent(silence)
            or _blocked(theirs)
            or _impossible(ours, theirs)
            or _open(ours, theirs, attempts)
        )
        where = "relayed" if path == "relayed" else "not connected"
        cause = cause._replace(verdict=f"{where}: {cause.verdict}")
    return Explanation(peer_id, path, cause.verdict, cause.side, cause.property, tuple(attempts))


def punches_plainly(ours: NatFacts, theirs: NatFacts) -> bool | None:
    """Returns whether plain punching works between two NATs, or None where that is not known.

    A filter is taken to be kept for each inside endpoint, as RFC 4787 says.
    """
    ways = (_conflicts(ours, theirs), _conflicts(theirs, ours))
    if True in ways:
        return False
    return None if None in ways else True


def _conflicts(mapped: NatFacts, filtered: NatFacts) -> bool | None:
    """Returns whether one side's mapping meets the other's filter in the way that cannot work."""
    is_dependent = _is_dependent(mapped.mapping)
    looks_at_ports = _looks_at_ports(filtered.filtering)
    if is_dependent is False or looks_at_ports is False:
        return False
    return None if None in (is_dependent, looks_at_ports) else True


def _is_dependent(mapping: Dependence) -> bool | None:
    return None if mapping is Dependence.UNKNOWN else mapping.is_endpoint_dependent


def _looks_at_ports(filtering: Dependence) -> bool | None:
    if filtering in (Dependence.UNKNOWN, Dependence.ENDPOINT_DEPENDENT):
        return None
    return filtering is Dependence.ADDRESS_AND_PORT_DEPENDENT


def _direct(attempts: Sequence[PunchAttempt], now: Instant | None) -> _Cause:
    for attempt in reversed(attempts):
        if attempt.is_direct:
            when = "" if now is None else f" {_ago(now - attempt.at)}"
            how = f"in round {attempt.round} ({attempt.strategy})"
            return _Cause(f"direct: hole punching succeeded{when} {how}")
    return _Cause("direct: one side could be dialled, no hole had to be punched")


def _over_tcp(silence: Silence | None) -> _Cause | None:
    if silence is None or not silence.over_tcp:
        return None
    return _Cause(f"direct over TCP: {silence_text(silence)}")


def _silent(silence: Silence | None) -> _Cause | None:
    if silence is None:
        return None
    if silence.over_tcp:
        return _Cause(silence_text(silence), "ours" if silence.is_ours else None, UDP_BLOCKED)
    # One host may be down; that several are is not likely, but nothing proves which network it is.
    return _Cause(silence_text(silence), "ours" if silence.hosts > 1 else None, UDP_SILENT)


def _blocked(theirs: NatFacts | None) -> _Cause | None:
    if theirs is None or not theirs.is_udp_blocked:
        return None
    verdict = "the peer's network blocks UDP, so no direct packet gets through but over TCP"
    return _Cause(verdict, "theirs", UDP_BLOCKED)


def _impossible(ours: NatFacts, theirs: NatFacts | None) -> _Cause | None:
    if theirs is None:
        return None
    by_ours, by_theirs = _conflicts(ours, theirs), _conflicts(theirs, ours)
    if by_ours and by_theirs:
        verdict = (
            f"both NATs give every endpoint another port ({_mapping(ours)} on our side,"
            f" {_mapping(theirs)} on the peer's) and let in only the ports that were written to,"
            " so plain hole punching cannot work"
        )
        names = dict.fromkeys((_mapping(ours), _mapping(theirs)))
        return _Cause(verdict, "both", " and ".join(names))
    if by_ours:
        verdict = (
            f"our NAT gives every endpoint another port ({_mapping(ours)}) and the peer's lets in"
            f" only the port that it wrote to ({_filtering(theirs)}), so plain hole punching cannot"
            " work"
        )
        return _Cause(verdict, "ours", _mapping(ours))
    if by_theirs:
        verdict = (
            f"the peer's NAT gives every endpoint another port ({_mapping(theirs)}) and ours lets"
            f" in only the port that we wrote to ({_filtering(ours)}), so plain hole punching"
            " cannot work"
        )
        return _Cause(verdict, "theirs", _mapping(theirs))
    return None


def _open(ours: NatFacts, theirs: NatFacts | None, attempts: Sequence[PunchAttempt]) -> _Cause:
    """Says what is not known, or that it ought to work."""
    if theirs is None:
        missing = "the peer has not told how its NAT behaves"
        own = _missing("our", ours)
        return _Cause(f"the cause is not known: {missing}{f', and {own}' if own else ''}")
    works = punches_plainly(ours, theirs)
    if works is None:
        parts = [part for part in (_missing("our", ours), _missing("the peer's", theirs)) if part]
        return _Cause(f"the cause is not known: {' and '.join(parts)}")
    if not attempts:
        return _Cause("hole punching should work between these NATs, and has not been tried yet")
    failed = f"{_rounds(attempts)} failed, the last one because {attempts[-1].reason}"
    if _depends_on_scope(ours, theirs):
        verdict = (
            f"both NATs give every endpoint another port, and {failed}: it works only where"
            " they keep their filters for each inside endpoint, not for each mapping"
        )
        names = dict.fromkeys((_mapping(ours), _mapping(theirs)))
        return _Cause(verdict, "both", " and ".join(names))
    return _Cause(f"hole punching should work between these NATs, but {failed}")


def _depends_on_scope(ours: NatFacts, theirs: NatFacts) -> bool:
    """The four of the 81 pairs in which it matters whose permission an outbound packet is."""
    return all(
        facts.mapping.is_endpoint_dependent and facts.filtering is Dependence.ADDRESS_DEPENDENT
        for facts in (ours, theirs)
    )


def _missing(whose: str, facts: NatFacts) -> str:
    """Says what is not known of a side, and what it would take."""
    fields = [
        name
        for name, value in (("mapping", facts.mapping), ("filtering", facts.filtering))
        if value is Dependence.UNKNOWN
    ]
    if not fields:
        return ""
    names = " and ".join(fields)
    advice = ""
    if "mapping" in fields and facts.observers <= 1:
        side = "" if whose == "our" else ", on its side,"
        peers = "one peer" if facts.observers == 1 else "too few peers"
        advice = f" ({peers} cannot tell it: connect{side} to three peers on two IPs)"
    return f"{whose} NAT's {names} is unknown{advice}"


def _mapping(facts: NatFacts) -> str:
    return f"{facts.mapping.value} mapping"


def _filtering(facts: NatFacts) -> str:
    return f"{facts.filtering.value} filtering"


def _rounds(attempts: Sequence[PunchAttempt]) -> str:
    return "one round" if len(attempts) == 1 else f"{len(attempts)} rounds"


def _ago(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min ago"
    return f"{seconds / _HOUR:.1f} h ago"
