"""Strangers: who may begin a handshake, and what that costs (specs/quic.md, Endpoint).

    Initial -> another version?                -> Version Negotiation, nothing kept
            -> under load and without token?   -> Retry, nothing kept
            -> otherwise                       -> a handshake, for 10 s at most

Where all room is taken, the newest handshake of the network that has most of it goes, by whichever
transport it came, so that many handshakes of few networks keep nobody else out.
"""

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.machine import ConnectionHandle
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.resources.account import Account
from p2pnode.resources.networks import Network
from p2pnode.transports.places import NoRoom, Verdict, holder, origin
from p2pnode.transports.quic_v1.packet import Packet, encode_retry
from p2pnode.transports.quic_v1.short_packet import CONNECTION_ID_SIZE
from p2pnode.transports.quic_v1.token import Proof, QuicTokens, TokenKind
from p2pnode.transports.route import Route

RETRY_THRESHOLD: Final = 64
"""half-open handshakes from unproven addresses above which strangers must show a token; chosen:
about 0.1 s of a core's work"""
MAX_VETTED: Final = 2
"""handshakes that a network may have in VETTING_WINDOW while there are no places for strangers; its
peer may be a protected one; chosen: 64 networks take 4 % of a core by them"""
VETTING_WINDOW: Final = 10.0
"""seconds; chosen, see MAX_VETTED"""


class HalfOpen(NamedTuple):
    """A handshake that somebody else has begun, in the ledger of these."""

    handle: ConnectionHandle


class Admitted(NamedTuple):
    """A stranger may begin a handshake."""

    proof: Proof | None
    """Of its address, where it has one."""
    needs_room: bool
    """Whether the account has to end another handshake for it."""


class Strangers:
    """The half-open handshakes of an endpoint."""

    def __init__(
        self,
        account: Account,
        tokens: QuicTokens,
        entropy: Entropy,
        drop: Callable[[ConnectionHandle], object],
    ) -> None:
        """`drop` forgets a handshake for others' sake, and has it removed here."""
        self._ledger = account.half_open
        self._drop = drop
        account.let_half_open_end(self._end)
        self._tokens = tokens
        self._entropy = entropy
        self._vetted = KeyedRateLimit[Network](MAX_VETTED, VETTING_WINDOW)
        self._unproven: dict[ConnectionHandle, None] = {}
        self._ours: dict[ConnectionHandle, None] = {}

    def judge_untrusted(
        self, initial: Packet, route: Route, verdict: Verdict, now: Instant
    ) -> Admitted | bytes | None:
        """Returns how it goes on: a Retry to send, or None for silence.

        `verdict` says whether there would be a place for another connection.
        """
        proof = self._tokens.check_untrusted(initial.token, route.remote, initial.destination, now)
        ledger, who = self._ledger, holder(route)
        no_room = verdict if isinstance(verdict, NoRoom) else None
        if no_room is not None and not no_room.but_for_protected:
            ledger.refusals.note(no_room.refusal)
            return None
        full = ledger.room_refusal(who)
        is_loaded = (
            no_room is not None or full is not None or len(self._unproven) >= RETRY_THRESHOLD
        )
        if proof is None and is_loaded:
            source = self._entropy(CONNECTION_ID_SIZE)
            token = self._tokens.retry_token(route.remote, initial.destination, source, now)
            return encode_retry(initial.source, source, token, initial.destination)
        if no_room is not None and not self._vetted.take(origin(route)[-1], now):
            ledger.refusals.note(no_room.refusal)
            return None
        share, network = ledger.share_refusal(who), who.networks[-1]
        if share is None and full is not None and ledger.of_network(network) >= ledger.most:
            share = full
        if share is not None:
            ledger.refusals.note(share)
            return None
        return Admitted(proof, full is not None)

    def add(self, handle: ConnectionHandle, route: Route, *, is_proven: bool) -> None:
        self._ledger.put(HalfOpen(handle), holder(route))
        self._ours[handle] = None
        if not is_proven:
            self._unproven[handle] = None

    def remove(self, handle: ConnectionHandle) -> None:
        """The handshake is over, either way.  Nothing where there is none."""
        if handle in self._ours:
            del self._ours[handle]
            self._unproven.pop(handle, None)
            self._ledger.give_back(HalfOpen(handle))

    def __contains__(self, handle: ConnectionHandle) -> bool:
        return handle in self._ours

    def _end(self, member: Hashable) -> bool:
        if not isinstance(member, HalfOpen) or member.handle not in self._ours:
            return False
        self._drop(member.handle)
        return True


def original_of(initial: Packet, proof: Proof | None) -> tuple[bytes, bytes | None]:
    """Returns where the client's very first Initial went, and the source of our Retry if any."""
    if proof is not None and proof.kind is TokenKind.RETRY:
        return proof.original_destination, initial.destination
    return initial.destination, None
