"""What the evidence on one address amounts to (specs/autonat.md, Verdicts).

A filter that lets strangers in lets acquaintances in as well, never the other way round.  So, of a
probe by a host that this node had contacted before, success proves little and failure much; of a
stranger's probe both count.

Rules: three values, and "unknown" wherever the evidence does not reach; a stranger's packet that
arrived is a proof for its moment, silence needs several witnesses; a server that stands alone
cannot overturn what others have proved; every verdict says why.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from p2pnode.clock import Instant
from p2pnode.protocols.autonat.delegated_asker import HelperResult, ProbeResult
from p2pnode.protocols.autonat.outcomes import (
    Inconclusive,
    NotReached,
    ProbeOutcome,
    Prober,
    Reached,
)
from p2pnode.wire.ip_ranges import owner_group

EVIDENCE_LIFETIME = 5 * 3600.0  # seconds; go-libp2p's result TTL
EVIDENCE_WINDOW = 5  # pieces a prober kind; go-libp2p's window
CONFIDENCE_TARGET = 3  # independent witnesses; go-libp2p
NEGATIVES_NEEDED = (
    2  # independent witnesses; go-libp2p's least confidence, and 1 probe in 100 is lost
)


class Reachability(enum.Enum):
    """Would a stranger's first packet arrive now?"""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    PRIVATE = "private"


class Evidence(NamedTuple):
    """One piece: who knocked, for whom, and whether it was heard."""

    at: Instant
    is_heard: bool
    prober: Prober
    witness: str
    """The prober's network (an IPv4 address or IPv6 /56): witnesses in one count once."""
    server: str
    """The network of the server that arranged it; the same as `witness` where it knocked itself."""
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is believed of one address, and why."""

    reachability: Reachability
    confidence: int
    """0 (unknown) to CONFIDENCE_TARGET: independent witnesses for it, less those against it."""
    why: str
    """One sentence."""
    evidence: tuple[Evidence, ...]
    """All that counts, oldest first."""
    expires_at: Instant | None
    """When nothing new has come by then, it is unknown again; None while it is."""


def evidence_of_outcome(
    outcome: ProbeOutcome, *, server_ip: str, prober_ip: str | None, now: Instant
) -> Evidence | None:
    """Returns what a v1 or v2 probe proves, or None where it proves nothing.

    `prober_ip` is where the dial-back came from; None where none was seen.
    """
    server = owner_group(server_ip)
    witness = server if prober_ip is None else owner_group(prober_ip)
    match outcome:
        case Reached(_, prober):
            return Evidence(now, True, prober, witness, server, prober.value)
        case NotReached(_, prober, reason):
            return Evidence(now, False, prober, witness, server, reason)
        case Inconclusive():
            return None


def evidence_of_helpers(
    results: Iterable[HelperResult], *, server_ip: str, now: Instant
) -> tuple[Evidence, ...]:
    """Returns what delegated probes prove."""
    server = owner_group(server_ip)
    return tuple(
        Evidence(
            now,
            result is ProbeResult.ARRIVED,
            Prober.STRANGER,
            owner_group(helper_ip),
            server,
            result.value,
        )
        for helper_ip, result in results
        if result in (ProbeResult.ARRIVED, ProbeResult.SILENT)
    )


class AddressEvidence:
    """The fold for one address."""

    def __init__(self, *, acquaintances_suffice: bool) -> None:
        """`acquaintances_suffice`: AutoNAT's own rule, wrong behind address-restricted filters."""
        self._acquaintances_suffice = acquaintances_suffice
        self._pieces: list[Evidence] = []  # in order of arrival

    def add(self, evidence: Evidence) -> None:
        """Takes a piece; it replaces what the same witness, so met, said before."""
        kept = [
            piece
            for piece in self._pieces
            if (piece.witness, piece.prober) != (evidence.witness, evidence.prober)
        ]
        kept.append(evidence)
        of_kind = [piece for piece in kept if piece.prober is evidence.prober]
        if len(of_kind) > EVIDENCE_WINDOW:
            kept.remove(of_kind[0])
        self._pieces = kept

    def clear(self) -> None:
        """Forgets all: the network is another one."""
        self._pieces.clear()

    def verdict(self, now: Instant) -> Verdict:
        """Returns what the evidence of the last EVIDENCE_LIFETIME amounts to."""
        pieces = tuple(p for p in self._pieces if now < p.at + EVIDENCE_LIFETIME)
        heard, against = self._split(pieces)
        if heard:
            verdict = _heard_once(heard, against)
        elif len(against) >= NEGATIVES_NEEDED:
            confidence = min(CONFIDENCE_TARGET, len(against))
            verdict = (Reachability.PRIVATE, confidence, _silence(against))
        else:
            verdict = (Reachability.UNKNOWN, 0, _what_is_missing(pieces, against))
        reachability, confidence, why = verdict
        behind = heard if reachability is Reachability.PUBLIC else against
        is_known = reachability is not Reachability.UNKNOWN
        return Verdict(
            reachability,
            confidence,
            why,
            pieces,
            max(p.at for p in behind) + EVIDENCE_LIFETIME if is_known else None,
        )

    def _split(self, pieces: tuple[Evidence, ...]) -> tuple[list[Evidence], list[Evidence]]:
        """Returns the proofs, and the negatives that are newer than what would refute them."""
        proofs: list[Evidence] = []
        against: list[Evidence] = []
        for piece in pieces:
            is_stranger = piece.prober is Prober.STRANGER
            if piece.is_heard:
                if is_stranger or self._acquaintances_suffice:
                    proofs.append(piece)
                    against.clear()
                else:
                    against = [p for p in against if p.prober is Prober.STRANGER]
            else:
                against = [p for p in against if p.witness != piece.witness]
                against.append(piece)
        return proofs, against


def _heard_once(heard: list[Evidence], against: list[Evidence]) -> tuple[Reachability, int, str]:
    count = _networks(p.witness for p in heard)
    if len(against) < NEGATIVES_NEEDED:
        who = "one stranger" if count == 1 else f"{count} independent strangers"
        but = "; a later probe was not heard" if against else ""
        confidence = max(1, min(CONFIDENCE_TARGET, count) - len(against))
        return Reachability.PUBLIC, confidence, f"packets of {who} arrived{but}"
    servers = dict.fromkeys(p.server for p in against)
    if len(servers) > 1 or heard[-1].server in servers:
        confidence = min(CONFIDENCE_TARGET, len(against))
        return Reachability.PRIVATE, confidence, f"no longer: {_silence(against)}"
    return (
        Reachability.UNKNOWN,
        0,
        "strangers' packets arrived before, and only one server says that they do not now",
    )


def _silence(against: list[Evidence]) -> str:
    strangers = sum(p.prober is Prober.STRANGER for p in against)
    if strangers == len(against):
        return f"{strangers} strangers sent packets, and none arrived"
    return f"{len(against)} independent probes failed"


def _what_is_missing(pieces: tuple[Evidence, ...], against: list[Evidence]) -> str:
    if against:
        return f"only {len(against)} of the {NEGATIVES_NEEDED} witnesses needed found it closed"
    if pieces:
        return "peers that this node had contacted get in, but no stranger has tried"
    return "nobody has tried yet"


def _networks(names: Iterable[str]) -> int:
    return len(dict.fromkeys(names))
