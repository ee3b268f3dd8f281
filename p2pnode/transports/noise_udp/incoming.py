"""Strangers: handshakes that others begin, until message 3 proves them (specs/transport.md).

    message 1 -> under load and without token? -> Retry, nothing kept
              -> otherwise                     -> message 2, kept as HalfOpen for 10 s
    message 3 -> valid?                        -> a connection

Where all room is taken, the newest handshake of the network that has most of it goes, so that many
handshakes of few networks keep nobody else out.

The rule: before its address is proved, a stranger costs a bounded amount of memory and gets at most
three times what it sent.
"""

import hashlib
from collections.abc import Hashable
from typing import Final, NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.machine import SocketAddr
from p2pnode.rate_limit import KeyedRateLimit
from p2pnode.resources.account import Account, Beside
from p2pnode.resources.networks import Network
from p2pnode.resources.refusal import Holder
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection import Opening
from p2pnode.transports.noise_udp.handshake import Credentials, ResponderHandshake, chosen_aead
from p2pnode.transports.noise_udp.packet import (
    PATTERN_XX,
    VERSIONS,
    Initial,
    Retry,
    VersionNegotiation,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters
from p2pnode.transports.noise_udp.path_validation import AMPLIFICATION_LIMIT
from p2pnode.transports.noise_udp.token import TokenIssuer
from p2pnode.transports.places import NoRoom, holder, origin
from p2pnode.transports.route import Route

RETRY_THRESHOLD: Final = 64
"""half-open handshakes from unproven addresses above which strangers must show a token; chosen:
about 10 ms of a core's work"""
MAX_FINISHED: Final = 1024
"""handshakes that are over and whose late duplicates are still known; chosen: 200 kB"""
MAX_EARLY_PACKETS: Final = 10
"""data packets that overtook message 3 and are kept: the initial flight"""
MAX_EARLY_SIZE: Final = 16 * 1024
"""bytes of them, for one handshake; chosen: ten packets of a path with an MTU of 1500"""
MAX_EARLY_TOTAL: Final = 1024 * 1024
"""bytes of them, for all handshakes; chosen: a quarter of what strangers may cost"""
MAX_VETTED: Final = 2
"""handshakes that a network may have in VETTING_WINDOW while there are no places for strangers; its
peer may be a protected one; chosen: 64 networks take 4 % of a core by them"""
VETTING_WINDOW: Final = 10.0
"""seconds; chosen, see MAX_VETTED"""
MESSAGE_DIGEST_SIZE: Final = 16
"""bytes that stand for a message 1, which may be as long as a datagram"""


class HalfOpen:
    """One stranger whose message 1 was answered."""

    __slots__ = (
        "answered_at",
        "answers",
        "began_at",
        "connection_id",
        "early",
        "expires_at",
        "handshake",
        "is_proven",
        "key",
        "parameters",
        "received",
        "route",
        "sent",
    )

    def __init__(
        self,
        *,
        key: "HalfOpenKey",
        handshake: ResponderHandshake,
        parameters: TransportParameters,
        route: Route,
        is_proven: bool,
        began_at: Instant,
        expires_at: Instant,
    ) -> None:
        self.key = key
        self.handshake = handshake
        self.parameters = parameters
        self.connection_id = parameters.connection_id
        self.route = route
        self.is_proven = is_proven
        self.began_at = began_at
        self.expires_at = expires_at
        self.received = 0
        self.sent = 0
        self.answers = 0
        self.answered_at = 0.0
        self.early: list[bytes] = []
        """Packets that overtook message 3; only from who has proved to be at its address."""


class HalfOpenKey(NamedTuple):
    """What duplicates of one message 1 have in common."""

    remote: SocketAddr
    source: int
    digest: bytes
    """Of Noise message 1."""


class Incoming:
    """All half-open handshakes of an endpoint."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        config: TransportConfig,
        tokens: TokenIssuer,
        entropy: Entropy,
        account: Account,
    ) -> None:
        """`account` counts handshakes by their keys, and the early packets of all."""
        self._credentials = credentials
        self._config = config
        self._tokens = tokens
        self._entropy = entropy
        self._by_key: dict[HalfOpenKey, HalfOpen] = {}
        self._account = account
        account.let_half_open_end(self._end)
        self._ledger = account.half_open
        self._memory = account.memory
        self._early_drops = account.early_drops
        self._finished = Bounded[HalfOpenKey, Instant](MAX_FINISHED)
        self._unproven = 0
        self._early_size = 0
        self.by_id: dict[int, HalfOpen] = {}
        self._vetted = KeyedRateLimit[Network](MAX_VETTED, VETTING_WINDOW)
        self.no_room: NoRoom | None = None
        """Set by the endpoint where it has no room for another connection of a stranger's."""

    def on_initial_untrusted(
        self,
        initial: Initial,
        size: int,
        route: Route,
        parameters: TransportParameters,
        now: Instant,
        unix_now: UnixTime,
    ) -> bytes | None:
        """Takes message 1 and returns the packet that answers it, if any."""
        if initial.version not in VERSIONS:
            return VersionNegotiation(initial.source, VERSIONS).encode()
        if initial.pattern != PATTERN_XX:
            return None
        digest = hashlib.blake2b(initial.message, digest_size=MESSAGE_DIGEST_SIZE).digest()
        key = HalfOpenKey(route.remote, initial.source, digest)
        known = self._by_key.get(key)
        if known is not None:
            known.received += size
            return self._answer(known, now)
        if key in self._finished:
            return None
        proof = self._tokens.check_untrusted(
            initial.token, route.remote, initial.destination, initial.source, unix_now
        )
        who = _holder(route)
        no_room = self.no_room
        if no_room is not None and not no_room.but_for_protected:
            self._ledger.refusals.note(no_room.refusal)
            return None
        is_full = self._ledger.room_refusal(who) is not None
        is_loaded = no_room is not None or is_full or self._unproven >= RETRY_THRESHOLD
        if proof is None and is_loaded:
            token = self._tokens.retry_token(
                route.remote, initial.destination, initial.source, unix_now
            )
            return Retry(initial.source, token).encode()
        if no_room is not None and not self._vetted.take(origin(route)[-1], now):
            self._ledger.refusals.note(no_room.refusal)
            return None
        if not self._has_room(who, is_full=is_full):
            return None
        try:
            handshake = ResponderHandshake(self._credentials, self._entropy, initial, parameters)
        except (DecodeError, HandshakeError):
            return None
        half_open = HalfOpen(
            key=key,
            handshake=handshake,
            parameters=parameters,
            route=route,
            is_proven=proof is not None,
            began_at=now,
            expires_at=now + self._config.handshake_timeout,
        )
        half_open.received = size
        if is_full and not self._account.end_newest_half_open():
            return None
        self._add(half_open, who)
        return self._answer(half_open, now)

    def on_final_untrusted(
        self, half_open: HalfOpen, message: bytes, route: Route, now: Instant, unix_now: UnixTime
    ) -> Opening | None:
        """Takes message 3; returns what the connection needs where it is valid."""
        try:
            introduction, secrets = half_open.handshake.read_final_untrusted(message)
            chosen_aead(self._config.aeads, introduction.parameters.aeads)
        except (DecodeError, HandshakeError):
            return None
        if introduction.peer_id == self._credentials.peer_id:
            return None
        return Opening(
            is_initiator=False,
            peer_id=introduction.peer_id,
            secrets=secrets,
            local=half_open.parameters,
            remote=introduction.parameters,
            route=route,
            final_packet=b"",
            token=self._tokens.address_token(route.remote, unix_now),
            rtt=now - half_open.answered_at if half_open.answers == 1 else None,
            handshake_time=now - half_open.began_at,
        )

    def finish(self, half_open: HalfOpen) -> list[bytes]:
        """The handshake is over; returns the packets that overtook its end.

        Its key is remembered for a while, so that a late duplicate of message 1 starts nothing.
        """
        self._remove(half_open)
        self._finished[half_open.key] = half_open.expires_at
        return half_open.early

    def keep_early(self, half_open: HalfOpen, packet: bytes, route: Route) -> None:
        """Keeps a data packet that came before message 3, where its sender is no stranger."""
        if route.key != half_open.route.key:
            return
        half_open.received += len(packet)
        if not half_open.is_proven:
            return
        size = sum(map(len, half_open.early)) + len(packet)
        if (
            len(half_open.early) < MAX_EARLY_PACKETS
            and size <= MAX_EARLY_SIZE
            and self._early_size + len(packet) <= MAX_EARLY_TOTAL
            and len(packet) <= self._memory.left
        ):
            half_open.early.append(bytes(memoryview(packet)))  # no longer than it is, see `Waiting`
            self._keep(len(packet))
        else:
            self._early_drops.note(len(packet))

    def handle_timeout(self, now: Instant) -> None:
        """Forgets strangers whose time is up; they are in order of their age."""
        while self._finished and next(iter(self._finished.values())) <= now:
            del self._finished[next(iter(self._finished))]
        while self._by_key:
            half_open = next(iter(self._by_key.values()))
            if half_open.expires_at > now:
                return
            self._remove(half_open)

    def poll_timeout(self) -> Deadline | None:
        if not self._by_key:
            return None
        return Deadline(next(iter(self._by_key.values())).expires_at, "half-open handshake")

    def _answer(self, half_open: HalfOpen, now: Instant) -> bytes | None:
        """Returns message 2, byte for byte the same each time, within the 3x limit."""
        packet = half_open.handshake.packet
        budget = AMPLIFICATION_LIMIT * half_open.received - half_open.sent
        if len(packet) > budget and not half_open.is_proven:
            return None
        half_open.sent += len(packet)
        half_open.answers += 1
        half_open.answered_at = now
        return packet

    def _has_room(self, who: Holder, *, is_full: bool) -> bool:
        """Returns whether one more of these networks is within their shares."""
        ledger = self._ledger
        refusal = ledger.share_refusal(who)
        if refusal is None and is_full and ledger.of_network(who.networks[-1]) >= ledger.most:
            refusal = ledger.room_refusal(who)
        if refusal is not None:
            ledger.refusals.note(refusal)
        return refusal is None

    def _end(self, key: Hashable) -> bool:
        """Ends a handshake for others' sake; False for one that is not here."""
        half_open = self._by_key.get(key) if isinstance(key, HalfOpenKey) else None
        if half_open is None:
            return False
        self._remove(half_open)
        return True

    def _add(self, half_open: HalfOpen, who: Holder) -> None:
        self._by_key[half_open.key] = half_open
        self.by_id[half_open.connection_id] = half_open
        self._ledger.put(half_open.key, who)
        self._unproven += not half_open.is_proven

    def _keep(self, count: int) -> None:
        """So many bytes of early packets are kept more, or less."""
        self._early_size += count
        self._memory.set_beside(Beside.EARLY, self._early_size)

    def _remove(self, half_open: HalfOpen) -> None:
        del self._by_key[half_open.key]
        self.by_id.pop(half_open.connection_id, None)
        self._ledger.give_back(half_open.key)
        if half_open.early:
            self._keep(-sum(map(len, half_open.early)))
        self._unproven -= not half_open.is_proven


def _holder(route: Route) -> Holder:
    """Returns what handshakes are counted by: a circuit for itself, for it has no address."""
    if route.is_relayed:
        return Holder((Network(0, -route.socket, is_ipv6=False),))
    return holder(route)
