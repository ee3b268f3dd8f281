"""One dial: message 1 until message 2 answers it, or time is up (specs/transport.md, Handshake).

The rule: nothing that comes back ends a dial but a valid answer or the deadline.  A wrong identity,
a foreign version or a forged packet may be an attacker that was faster than the peer: they are
remembered, and reported when nothing better came in time.  What this machine itself cannot send
ends it at once: that is no packet.
"""

from typing import Final

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import (
    NO_ANSWER,
    DecodeError,
    DialError,
    DialTimeout,
    HandshakeError,
    P2PNodeError,
    PeerIdMismatch,
)
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Obstacle, Unreachable
from p2pnode.transports.datagrams.obstacles import obstacle_text
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.connection import Opening
from p2pnode.transports.noise_udp.handshake import (
    Answer,
    Credentials,
    InitiatorHandshake,
    choose_aead,
)
from p2pnode.transports.noise_udp.packet import (
    VERSION,
    Retry,
    VersionNegotiation,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters
from p2pnode.transports.route import Route

FIRST_INTERVAL: Final = 0.5
"""seconds until message 1 is sent again, doubled each time; chosen: above nearly every RTT, and
half of RFC 9002's 1 s, because a lost first packet is what a person waits for"""
MAX_INTERVAL: Final = 4.0
"""seconds between two of them"""
MISMATCH_GRACE: Final = 2.0
"""seconds that the right peer has left to answer once another one did; chosen: four round trips of
the worst path, and nobody who typed a wrong id waits for ten seconds"""
UNREACHABLE_GRACE: Final = 1.0
"""seconds that the peer has left to answer once somebody else said that the packet did not arrive;
chosen: message 1 is sent once more, and its answer has half a second"""
MIN_QUOTED: Final = 20
"""bytes of message 1 that such a message must quote: the first byte, the version, the pattern and
both random ids, which nobody knows who did not see the packet, are 19"""
_AT_ONCE: Final = (Obstacle.NO_ROUTE, Obstacle.TOO_BIG)


class Dialing:
    """State of one dial.  `poll_packet` gives what to send, `on_...` take what comes back."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        parameters: TransportParameters,
        aeads: tuple[Aead, ...],
        route: Route,
        expected: PeerId | None,
        token: bytes,
        timeout: float,
        entropy: Entropy,
        now: Instant,
    ) -> None:
        self.route = route
        self.source = parameters.connection_id
        self._credentials = credentials
        self._parameters = parameters
        self._aeads = aeads
        self._expected = expected
        self._entropy = entropy
        self._destination = int.from_bytes(entropy(8), "big")
        self._began_at = now
        self._deadline = now + timeout
        self._failure: P2PNodeError | None = None
        self._was_retried = False
        self._begin(token, now)

    def _begin(self, token: bytes, now: Instant) -> None:
        self._handshake = InitiatorHandshake(
            self._credentials,
            self._entropy,
            destination=self._destination,
            source=self.source,
            token=token,
        )
        self._sent = 0
        self._sent_at = now
        self._next_at = now
        self._interval = FIRST_INTERVAL

    def on_retry_untrusted(self, retry: Retry, now: Instant) -> None:
        """The responder wants proof of our address first; once, or it would go on for ever."""
        if not self._was_retried:
            self._was_retried = True
            self._begin(retry.token, now)

    def on_version_negotiation_untrusted(self, packet: VersionNegotiation) -> None:
        if VERSION not in packet.versions:
            self._failure = HandshakeError("the peer speaks no version of noise-udp that we have")

    def on_unreachable_untrusted(self, report: Unreachable, now: Instant) -> bool:
        """Takes what is said of a datagram; returns whether it was a message 1 of this dial."""
        quoted = report.beginning
        if (
            (report.socket, report.remote) != self.route.key
            or len(quoted) < MIN_QUOTED
            or not self._handshake.packet.startswith(quoted)
        ):
            return False
        if not isinstance(self._failure, PeerIdMismatch):
            self._failure = DialError(obstacle_text(report))
        if not (report.is_local and report.obstacle in _AT_ONCE):
            self._deadline = min(self._deadline, now + UNREACHABLE_GRACE)
        elif self._sent == 1:  # else one has left, and may be answered once the network is back
            self._deadline = now
        return True

    def on_response_untrusted(self, message: bytes, now: Instant) -> Opening | None:
        """Takes message 2; returns what the connection needs where it is the right peer's."""
        try:
            answer = self._handshake.read_response_untrusted(message)
            return self._open(answer, now)
        except PeerIdMismatch as error:
            if not isinstance(self._failure, PeerIdMismatch):
                self._deadline = min(self._deadline, now + MISMATCH_GRACE)
            self._failure = error
        except (DecodeError, HandshakeError):
            pass  # forged or damaged: as if it had not come
        return None

    def _open(self, answer: Answer, now: Instant) -> Opening:
        peer_id, remote = answer.introduction
        if self._expected is not None and peer_id != self._expected:
            raise PeerIdMismatch(self._expected, peer_id)
        if peer_id == self._credentials.peer_id:
            raise PeerIdMismatch("another peer", "this node itself")
        aead = choose_aead(self._aeads, remote.aeads)
        local = self._parameters.with_aead(aead)
        final_packet, secrets = self._handshake.finish(answer, local)
        return Opening(
            is_initiator=True,
            peer_id=peer_id,
            secrets=secrets,
            local=local,
            remote=remote,
            route=self.route,
            final_packet=final_packet,
            token=b"",
            rtt=now - self._sent_at if self._sent == 1 else None,
            handshake_time=now - self._began_at,
        )

    def poll_packet(self, now: Instant) -> bytes | None:
        """Returns message 1 where it is due."""
        if now < self._next_at:
            return None
        self._sent += 1
        self._sent_at = now
        self._next_at = now + self._interval
        self._interval = min(2 * self._interval, MAX_INTERVAL)
        return self._handshake.packet

    def failure(self, now: Instant) -> P2PNodeError | None:
        """Returns why the dial has failed, once it has."""
        if now < self._deadline:
            return None
        return self._failure or DialTimeout(NO_ANSWER)

    def poll_timeout(self) -> Deadline:
        if self._next_at < self._deadline:
            return Deadline(self._next_at, "message 1")
        return Deadline(self._deadline, "dial timeout")
