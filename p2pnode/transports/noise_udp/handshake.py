"""The handshake: Noise XX, each read on a copy (specs/transport.md, Handshake).

    initiator                                   responder
    Initial   e, versions          ---------->
              <----------  Response  e, ee, s, es, identity, parameters
    Final     s, se, identity, parameters  ---> (first data packets in the same datagram)

The rule: no packet spoils a handshake.  A read that fails leaves everything as it was, so the next
datagram may be tried; a read that succeeds gives a value, and the caller decides.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.noise.handshake_state import HandshakeState
from p2pnode.noise.patterns import XX
from p2pnode.noise.payload import decode_payload_untrusted, make_payload
from p2pnode.noise.primitives import KeyPair
from p2pnode.transports.delivery.varint import decode_varint_untrusted, encode_varint
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.packet import (
    PATTERN_XX,
    VERSION,
    VERSIONS,
    FinalMessage,
    Initial,
    Response,
)
from p2pnode.transports.noise_udp.parameters import (
    TransportParameters,
    decode_parameters_untrusted,
    select_aead,
)

PROLOGUE_LABEL: Final = b"p2pnode noise-udp"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are: one static key per process, signed once by the identity key."""

    peer_id: PeerId
    static: KeyPair
    payload: bytes
    """The encoded libp2p-noise payload for `static`."""

    @classmethod
    def create(cls, identity: PrivateKey, entropy: Entropy) -> "Credentials":
        static = KeyPair.generate(entropy)
        payload = make_payload(identity, static.public).encode()
        return cls(PeerId.from_public_key(identity.public_key), static, payload)


class Secrets(NamedTuple):
    """The two outputs of Noise's Split(), by direction."""

    initiator: bytes
    """Protects what the initiator sends."""
    responder: bytes


class Introduction(NamedTuple):
    """What an authenticated message 2 or 3 says of its sender."""

    peer_id: PeerId
    parameters: TransportParameters


class Answer(NamedTuple):
    """A valid message 2, not yet acted upon."""

    introduction: Introduction
    state: HandshakeState


class InitiatorHandshake:
    """Writes messages 1 and 3, reads message 2."""

    __slots__ = ("_credentials", "_destination", "_state", "packet")

    def __init__(
        self,
        credentials: Credentials,
        entropy: Entropy,
        *,
        destination: int,
        source: int,
        token: bytes,
    ) -> None:
        self._credentials = credentials
        self._destination = destination
        self._state = HandshakeState(
            XX,
            initiator=True,
            prologue=_prologue(destination, source, token),
            entropy=entropy,
            s=credentials.static,
        )
        message = self._state.write_message(bytes(VERSIONS))
        self.packet = Initial(VERSION, PATTERN_XX, destination, source, token, message).encode()
        """Message 1's datagram; sent again byte for byte."""

    def read_response_untrusted(self, message: bytes) -> Answer:
        """Reads message 2.  Raises DecodeError or HandshakeError; nothing has changed then."""
        state = self._state.copy()
        return Answer(_introduction(state, state.read_message(message)), state)

    def finish(self, answer: Answer, parameters: TransportParameters) -> tuple[bytes, Secrets]:
        """Returns message 3's packet and the secrets.  Raises HandshakeError (low-order keys)."""
        state = answer.state.copy()
        message = state.write_message(_payload(self._credentials, parameters))
        packet = FinalMessage(answer.introduction.parameters.connection_id, message).encode()
        return packet, Secrets(*state.split_secrets())


class ResponderHandshake:
    """Reads messages 1 and 3, writes message 2."""

    __slots__ = ("_state", "packet")

    def __init__(
        self,
        credentials: Credentials,
        entropy: Entropy,
        initial: Initial,
        parameters: TransportParameters,
    ) -> None:
        """Answers an untrusted message 1.  Raises DecodeError or HandshakeError."""
        state = HandshakeState(
            XX,
            initiator=False,
            prologue=_prologue(initial.destination, initial.source, initial.token),
            entropy=entropy,
            s=credentials.static,
        )
        state.read_message(initial.message)
        message = state.write_message(_payload(credentials, parameters))
        self._state = state
        self.packet = Response(initial.source, message).encode()
        """Message 2's packet; sent again byte for byte for every duplicate of message 1."""

    def read_final_untrusted(self, message: bytes) -> tuple[Introduction, Secrets]:
        """Reads message 3.  Raises DecodeError or HandshakeError; nothing has changed then."""
        state = self._state.copy()
        introduction = _introduction(state, state.read_message(message))
        return introduction, Secrets(*state.split_secrets())


def choose_aead(preferred: tuple[Aead, ...], offered: tuple[int, ...]) -> Aead:
    """Returns the initiator's choice; raises HandshakeError where there is none in common."""
    aead = select_aead(preferred, offered)
    if aead is None:
        raise HandshakeError("the peer offers no AEAD that we have")
    return aead


def chosen_aead(offered: tuple[Aead, ...], selected: tuple[int, ...]) -> Aead:
    """Returns what message 3 selected; raises HandshakeError where we did not offer it."""
    if len(selected) != 1 or selected[0] not in offered:
        raise HandshakeError("the peer selected an AEAD that was not offered")
    return Aead(selected[0])


def _prologue(destination: int, source: int, token: bytes) -> bytes:
    """Binds version, connection ids and retry facts, and keeps libp2p's TCP Noise out."""
    ids = destination.to_bytes(8, "big") + source.to_bytes(8, "big")
    return PROLOGUE_LABEL + bytes((VERSION,)) + ids + bytes((len(token),)) + token


def _payload(credentials: Credentials, parameters: TransportParameters) -> bytes:
    return encode_varint(len(credentials.payload)) + credentials.payload + parameters.encode()


def _introduction(state: HandshakeState, payload: bytes) -> Introduction:
    """Reads what a message says of its sender; raises HandshakeError where it is not signed so."""
    size, position = decode_varint_untrusted(payload, 0)
    end = position + size
    if end > len(payload):
        raise DecodeError("truncated handshake payload")
    peer_id = decode_payload_untrusted(payload[position:end]).authenticate(
        state.remote_static, expected=None
    )
    return Introduction(peer_id, decode_parameters_untrusted(payload[end:]))
