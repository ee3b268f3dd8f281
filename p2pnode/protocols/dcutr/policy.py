"""When to punch, round by round, for every peer that is reached through a relay (specs/dcutr.md).

    facts in     relayed, public, evidence, a round's outcome, direct, gone
    commands out TryReversal, StartRound

The states of a peer are the table below.

Rules: a session is up to three rounds; after one that failed there is at most one round for each
change of evidence (addresses or NAT behaviour of either side), else one an hour, with chance, so
that two nodes do not meet their relay together; evidence that changes to and fro counts once.
"""

import enum
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.dcutr.plan import MAX_ROUNDS, Strategy, strategy_of
from p2pnode.wire.multiaddr import Multiaddr

RETRY_INTERVAL: Final = 3600.0
"""seconds between rounds without new evidence; chosen: what NATs forbid they forbid next time"""
RETRY_JITTER: Final = 0.1
"""part of the interval that a retry may come later"""
EVIDENCE_DELAY: Final = 1.0
"""seconds that evidence may still grow before a round uses it: changes come in groups"""
MIN_INTERVAL: Final = 5.0
"""seconds between a failure and the next round, whatever changes; iroh's"""
MAX_EVIDENCE: Final = 16
"""kinds of evidence remembered as tried for each peer"""
MAX_PEERS: Final = 1024
"""peers in the policy; chosen: the connections of a large node"""
RESPONDER_MEMORY: Final = 60.0
"""seconds after which a responder counts the rounds of a peer from 1 again"""


class PeerState(enum.Enum):
    PUNCHING = "punching"
    RELAYED = "relayed"
    DIRECT = "direct"


class PeerStep(enum.Enum):
    NEXT_ROUND = "next round"
    SESSION_FAILED = "session failed"
    RETRY = "retry"
    SUCCEEDED = "succeeded"
    DIRECT_LOST = "direct lost"


TRANSITIONS: dict[tuple[PeerState, PeerStep], PeerState] = {
    (PeerState.PUNCHING, PeerStep.NEXT_ROUND): PeerState.PUNCHING,
    (PeerState.PUNCHING, PeerStep.SESSION_FAILED): PeerState.RELAYED,
    (PeerState.PUNCHING, PeerStep.SUCCEEDED): PeerState.DIRECT,
    (PeerState.RELAYED, PeerStep.RETRY): PeerState.PUNCHING,
    (PeerState.RELAYED, PeerStep.SUCCEEDED): PeerState.DIRECT,
    (PeerState.DIRECT, PeerStep.DIRECT_LOST): PeerState.PUNCHING,
}


@dataclass(frozen=True, slots=True)
class TryReversal:
    """The peer is public: probe these addresses at once, beside the first round."""

    peer: PeerId
    addrs: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class StartRound:
    """Open a dcutr stream over the relayed connection, and punch as agreed on it."""

    peer: PeerId
    round: int
    strategy: Strategy


Command: TypeAlias = TryReversal | StartRound


@dataclass(slots=True)
class _Peer:
    evidence: str
    state: PeerState = PeerState.PUNCHING
    round: int = 1
    last_round: int = MAX_ROUNDS
    """Where this session ends: the first one has three rounds, a retry one."""
    retry_at: Instant = 0.0
    not_before: Instant = 0.0
    public: tuple[Multiaddr, ...] = ()
    tried: Bounded[str, None] = field(default_factory=lambda: Bounded[str, None](MAX_EVIDENCE))


class PunchPolicy:
    """The initiator's side: it alone begins rounds."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._peers: dict[PeerId, _Peer] = {}
        self._commands: list[Command] = []

    def handle_relayed(self, peer: PeerId, evidence: str) -> None:
        """A peer dialled us through a relay, and we have no direct path to it.

        `evidence` sums up what decides about success, for instance the addresses and NAT
        behaviour of both sides; only its equality counts.
        """
        if peer in self._peers or len(self._peers) >= MAX_PEERS:
            return
        self._peers[peer] = _Peer(evidence)
        self._begin(peer)

    def handle_public(self, peer: PeerId, addrs: tuple[Multiaddr, ...]) -> None:
        """A relayed peer says at which addresses strangers reach it; the same ones count once.

        A plain probe to any other address may poison the peer's NAT.
        """
        known = self._peers.get(peer)
        if known is None or known.state is PeerState.DIRECT or not addrs:
            return
        if addrs != known.public:
            known.public = addrs
            self._commands.append(TryReversal(peer, addrs))

    def handle_evidence(self, peer: PeerId, evidence: str, now: Instant) -> None:
        """What is known of the two sides has changed."""
        known = self._peers.get(peer)
        if known is None or known.evidence == evidence:
            return
        known.evidence = evidence
        if known.state is PeerState.RELAYED and evidence not in known.tried:
            soon = max(now + EVIDENCE_DELAY, known.not_before)
            known.retry_at = min(known.retry_at, soon)

    def handle_round_failed(self, peer: PeerId, now: Instant) -> None:
        """The dialogue failed, or the plan's time is over without a validated path."""
        known = self._peers.get(peer)
        if known is None or known.state is not PeerState.PUNCHING:
            return
        if known.round < known.last_round:
            known.state = TRANSITIONS[known.state, PeerStep.NEXT_ROUND]
            known.round += 1
            self._begin(peer)
            return
        known.state = TRANSITIONS[known.state, PeerStep.SESSION_FAILED]
        known.retry_at = now + RETRY_INTERVAL * (1 + RETRY_JITTER * self._rng.random())
        known.not_before = now + MIN_INTERVAL
        if known.evidence not in known.tried:  # it changed while the session ran
            known.retry_at = known.not_before

    def handle_round_interrupted(self, peer: PeerId) -> None:
        """The connection of the round is gone, and another relayed one is left: begin it again."""
        known = self._peers.get(peer)
        if known is not None and known.state is PeerState.PUNCHING:
            self._begin(peer)

    def handle_direct(self, peer: PeerId) -> None:
        """A direct path works."""
        known = self._peers.get(peer)
        if known is not None and (known.state, PeerStep.SUCCEEDED) in TRANSITIONS:
            known.state = TRANSITIONS[known.state, PeerStep.SUCCEEDED]

    def handle_direct_lost(self, peer: PeerId, evidence: str) -> None:
        """The direct path died, and the relay carries on: something has changed, begin anew."""
        known = self._peers.get(peer)
        if known is None or known.state is not PeerState.DIRECT:
            return
        self._peers[peer] = _Peer(evidence, state=TRANSITIONS[known.state, PeerStep.DIRECT_LOST])
        self._begin(peer)

    def handle_gone(self, peer: PeerId) -> None:
        """There is no connection to the peer any more."""
        self._peers.pop(peer, None)

    def handle_timeout(self, now: Instant) -> None:
        """Begins the retries that are due: one round each.

        They alternate between the first two strategies: the third one swaps roles, for which both
        sides have to count alike, and the responder has begun anew.
        """
        for peer, known in self._peers.items():
            if known.state is PeerState.RELAYED and now >= known.retry_at:
                known.state = TRANSITIONS[known.state, PeerStep.RETRY]
                known.round = known.last_round = 2 if known.round == 1 else 1
                self._begin(peer)

    def relayed(self) -> tuple[PeerId, ...]:
        """Returns the peers for which new evidence would mean another round."""
        return tuple(p for p, known in self._peers.items() if known.state is PeerState.RELAYED)

    def poll_commands(self) -> list[Command]:
        """Returns what to do, in order."""
        commands, self._commands = self._commands, []
        return commands

    def poll_timeout(self) -> Deadline | None:
        """Returns when the next retry is due."""
        waiting = [p.retry_at for p in self._peers.values() if p.state is PeerState.RELAYED]
        return Deadline(min(waiting), "another punch") if waiting else None

    def _begin(self, peer: PeerId) -> None:
        known = self._peers[peer]
        known.tried[known.evidence] = None
        self._commands.append(StartRound(peer, known.round, strategy_of(known.round)))


class ResponderRounds:
    """The responder's count of rounds, by the dialogues that it has agreed to."""

    def __init__(self) -> None:
        self._rounds = Bounded[PeerId, tuple[int, Instant]](MAX_PEERS)

    def next_round(self, peer: PeerId, now: Instant) -> int:
        """Returns the number of the round that was just agreed with the peer."""
        number, at = self._rounds.get(peer, (0, now))
        number = 1 if now - at > RESPONDER_MEMORY else number + 1
        self._rounds[peer] = number, now
        return number

    def handle_gone(self, peer: PeerId) -> None:
        """There is no connection to the peer any more."""
        self._rounds.pop(peer, None)
