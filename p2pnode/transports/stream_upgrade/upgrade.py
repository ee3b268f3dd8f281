"""From a byte link to an authenticated peer and a muxer's name (specs/upgrade.md).

    SECURITY  --/noise agreed--> NOISE --muxer in the payloads--> Upgraded
                                 NOISE --none in common--> MUXER --agreed--> Upgraded
    any       --anything else, the end of the link, UPGRADE_TIMEOUT--> UpgradeFailed

Rule: who is initiator comes from outside.  It is whoever dialled on a plain link, and whoever the
protocol above names where both dialled or the link is relayed.
"""

from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, HandshakeError, LocalProtocolError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.noise import XX, HandshakeState, KeyPair
from p2pnode.noise.payload import MAX_PAYLOAD_SIZE, decode_payload_untrusted, make_payload
from p2pnode.noise.primitives import DH_LEN, TAG_LEN
from p2pnode.transports.stream_upgrade.noise_channel import (
    LENGTH_SIZE,
    NoiseChannel,
    encode_noise_frame,
)
from p2pnode.wire.multistream import Agreed, Failed, Initiator, Responder

NOISE_PROTOCOL = "/noise"
YAMUX_PROTOCOL = "/yamux/1.0.0"
UPGRADE_TIMEOUT = 10.0  # seconds, from the opening of the link to the muxer; chosen
MAX_HANDSHAKE_MESSAGE = MAX_PAYLOAD_SIZE + 2 * DH_LEN + 2 * TAG_LEN  # two keys, payload, two tags


@dataclass(frozen=True, slots=True)
class UpgradeCredentials:
    """Who we are on byte links, made once for all of them."""

    static: KeyPair
    payload: bytes
    """The encoded libp2p payload for `static`, with the muxers that we speak."""
    muxers: tuple[str, ...]
    """In our order of preference; with `names_early` the payload has them."""
    names_early: bool

    @classmethod
    def create(
        cls,
        identity: PrivateKey,
        entropy: Entropy,
        *,
        muxers: tuple[str, ...] = (YAMUX_PROTOCOL,),
        names_early: bool = True,
    ) -> "UpgradeCredentials":
        """Makes a static key and signs it; `names_early`: muxers are named in the handshake."""
        static = KeyPair.generate(entropy)
        named = tuple(muxer.encode() for muxer in muxers) if names_early else ()
        payload = make_payload(identity, static.public, stream_muxers=named).encode()
        return cls(static, payload, muxers, names_early)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The peer is proven, and both sides know the muxer."""

    peer_id: PeerId
    channel: NoiseChannel
    muxer: str
    rest: bytes
    """The muxer's first bytes, decrypted; what is left of a frame is in the channel."""


@dataclass(frozen=True, slots=True)
class UpgradeFailed:
    """The link is good for nothing; `error` is a DecodeError, HandshakeError or PeerIdMismatch."""

    error: DecodeError | HandshakeError


UpgradeOutcome: TypeAlias = Upgraded | UpgradeFailed


class StreamUpgrade:
    """One link's upgrade, as either side.  Holds at most one message and one read of the link."""

    def __init__(
        self,
        credentials: UpgradeCredentials,
        *,
        is_initiator: bool,
        expected: PeerId | None,
        entropy: Entropy,
        now: Instant,
    ) -> None:
        """`expected` is who has to answer; None: anybody will do."""
        self._credentials = credentials
        self._expected = expected
        self._handshake = HandshakeState(
            XX, initiator=is_initiator, prologue=b"", entropy=entropy, s=credentials.static
        )
        self._negotiation = _negotiate(is_initiator, (NOISE_PROTOCOL,))
        self._arrived = bytearray()
        self._output = bytearray(self._negotiation.poll_data())
        self._peer_id: PeerId | None = None
        self._named: tuple[bytes, ...] = ()
        self._channel: NoiseChannel | None = None
        self._is_noise_agreed = False
        self._deadline = Deadline(now + UPGRADE_TIMEOUT, "the upgrade of a link")
        self.outcome: UpgradeOutcome | None = None
        if is_initiator:
            # One proposal only: the first message of Noise need not wait for the answer (MSS-3).
            self._write_handshake(b"")

    def handle_data(self, data: bytes) -> None:
        """Takes the link's next bytes, cut anywhere.  Untrusted; never raises for what they are.

        Raises LocalProtocolError once there is an outcome: later bytes are the channel's.
        """
        if self.outcome is not None:
            raise LocalProtocolError("the upgrade of this link is over")
        try:
            self._take(data)
        except (DecodeError, HandshakeError) as error:
            self.outcome = UpgradeFailed(error)

    def handle_eof(self) -> None:
        """The peer finished its direction, or the link is lost."""
        if self.outcome is None:
            self.outcome = UpgradeFailed(HandshakeError("the link ended during the upgrade"))

    def handle_timeout(self, now: Instant) -> None:
        """Gives up where UPGRADE_TIMEOUT is over."""
        if self.outcome is None and now >= self._deadline.at:
            text = f"the upgrade of the link took more than {UPGRADE_TIMEOUT:g} s"
            self.outcome = UpgradeFailed(HandshakeError(text))

    def poll_timeout(self) -> Deadline | None:
        return self._deadline if self.outcome is None else None

    def poll_output(self) -> bytes:
        """Returns what to send; also behind a failure, so that the peer learns of a refusal."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def _take(self, data: bytes) -> None:
        if self._channel is not None:
            self._take_muxer(self._channel, self._channel.decrypt_untrusted(data))
            return
        if not self._is_noise_agreed:
            agreed = self._negotiate(data)
            self._output += self._negotiation.poll_data()
            if agreed is None:
                return
            self._is_noise_agreed = True
            data = agreed.rest
        self._arrived += data
        while (message := self._next_message()) is not None:
            self._read_handshake(message)
            if self._handshake.is_finished:
                self._secure()
                return

    def _negotiate(self, data: bytes) -> Agreed | None:
        """Returns the agreement, or None while there is none.  Raises HandshakeError."""
        self._negotiation.handle_data(data)
        outcome = self._negotiation.outcome
        if outcome is None or isinstance(outcome, Agreed):
            return outcome
        self._output += self._wrap(self._negotiation.poll_data())
        if isinstance(outcome, Failed):
            raise HandshakeError(outcome.reason)
        raise HandshakeError(f"the peer does not speak {', '.join(outcome.protocols)}")

    def _wrap(self, data: bytes) -> bytes:
        return data if self._channel is None else self._channel.encrypt(data)

    def _next_message(self) -> bytes | None:
        """Returns the next handshake message, or None while it is incomplete."""
        arrived = self._arrived
        if len(arrived) < LENGTH_SIZE:
            return None
        size = int.from_bytes(arrived[:LENGTH_SIZE])
        if size > MAX_HANDSHAKE_MESSAGE:
            raise DecodeError(f"a handshake message of {size} bytes")
        end = LENGTH_SIZE + size
        if len(arrived) < end:
            return None
        message = bytes(arrived[LENGTH_SIZE:end])
        del arrived[:end]
        return message

    def _write_handshake(self, payload: bytes) -> None:
        self._output += encode_noise_frame(self._handshake.write_message(payload))

    def _read_handshake(self, message: bytes) -> None:
        payload = self._handshake.read_message(message)
        remote_static = self._handshake.remote_static
        if remote_static is not None:
            said = decode_payload_untrusted(payload)
            self._peer_id = said.authenticate(remote_static, expected=self._expected)
            self._named = said.stream_muxers
        if self._handshake.is_our_turn:
            self._write_handshake(self._credentials.payload)

    def _secure(self) -> None:
        """The handshake is finished: what comes behind it is encrypted."""
        is_initiator = self._handshake.is_initiator
        ours, theirs = self._handshake.split()
        if not is_initiator:
            ours, theirs = theirs, ours
        self._channel = channel = NoiseChannel(ours, theirs)
        rest = bytes(self._arrived)
        self._arrived.clear()
        muxer = self._early_muxer()
        if muxer is not None:
            self._finish(channel, muxer, channel.decrypt_untrusted(rest))
            return
        self._negotiation = _negotiate(is_initiator, self._credentials.muxers)
        self._output += channel.encrypt(self._negotiation.poll_data())
        self._take_muxer(channel, channel.decrypt_untrusted(rest))

    def _early_muxer(self) -> str | None:
        """Returns the initiator's first choice among what both named, or None."""
        ours = self._credentials.muxers if self._credentials.names_early else ()
        theirs = tuple(name.decode(errors="replace") for name in self._named)
        first, second = (ours, theirs) if self._handshake.is_initiator else (theirs, ours)
        return next((muxer for muxer in first if muxer in second), None)

    def _take_muxer(self, channel: NoiseChannel, plaintext: bytes) -> None:
        agreed = self._negotiate(plaintext)
        self._output += channel.encrypt(self._negotiation.poll_data())
        if agreed is not None:
            self._finish(channel, agreed.protocol, agreed.rest)

    def _finish(self, channel: NoiseChannel, muxer: str, rest: bytes) -> None:
        assert self._peer_id is not None
        self.outcome = Upgraded(self._peer_id, channel, muxer, rest)


def _negotiate(is_initiator: bool, protocols: tuple[str, ...]) -> Initiator | Responder:
    return Initiator(protocols) if is_initiator else Responder(protocols.__contains__)
