"""TLS 1.3 inside CRYPTO frames: aioquic's state machine, with libp2p's rules around it.

Both ends show a certificate that names their peer (certificate.py); ALPN is `libp2p`; no server
name is sent, and none looked at; there are neither session tickets nor 0-RTT.  What comes here may
be hostile: messages are cut out, bounded and held against their encryption level before aioquic
sees one, and whatever it raises ends the connection with a TLS alert.

Its ephemeral keys and randoms come from the system, not from `entropy`: aioquic has no way to be
given them.
"""

import ssl
import warnings
from typing import Final, NamedTuple

from aioquic import tls
from aioquic.buffer import Buffer  # pyright: ignore[reportPrivateImportUsage]

from p2pnode.clock import UnixTime
from p2pnode.errors import HandshakeError, PeerIdMismatch, TransportError
from p2pnode.identity.peer_id import PeerId
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.certificate import (
    TlsCredentials,
    peer_of_certificate_untrusted,
)
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.protection import CipherSuite
from p2pnode.transports.quic_v1.quic_error_code import QuicErrorCode

ALPN: Final = "libp2p"
MAX_TLS_MESSAGE: Final = 16384
"""bytes of a message, with its header; chosen: three times the largest certificate"""
OUTPUT_SIZE: Final = 4096
"""bytes that one message may make us write in one epoch; chosen: four times what it does"""
DEFAULT_SUITES: Final = (
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.CHACHA20_POLY1305_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
)
"""Best first.  Without AES hardware ChaCha20-Poly1305 is the faster one; the shell knows."""
_HEADER_SIZE: Final = 4
_NEW_SESSION_TICKET: Final = 4
_TRANSPORT_PARAMETERS: Final = 0x39

_EPOCHS: Final = {
    Epoch.INITIAL: tls.Epoch.INITIAL,
    Epoch.HANDSHAKE: tls.Epoch.HANDSHAKE,
    Epoch.APPLICATION: tls.Epoch.ONE_RTT,
}
_EPOCH_OF: Final = {theirs: ours for ours, theirs in _EPOCHS.items()}
_COMPLETE: Final = (tls.State.CLIENT_POST_HANDSHAKE, tls.State.SERVER_POST_HANDSHAKE)
_PROVEN: Final = (*_COMPLETE, tls.State.SERVER_EXPECT_FINISHED)
"""States that are not entered before the peer's certificate came and its key has signed."""
_BEFORE_HELLO: Final = (
    tls.State.CLIENT_HANDSHAKE_START,
    tls.State.CLIENT_EXPECT_SERVER_HELLO,
    tls.State.SERVER_EXPECT_CLIENT_HELLO,
)
# P-256 for those who may have no other; each group costs the client a key and a share.
_GROUPS: Final = (tls.Group.X25519, tls.Group.SECP256R1)
_SIGNATURES: Final = (
    tls.SignatureAlgorithm.ECDSA_SECP256R1_SHA256,
    tls.SignatureAlgorithm.ED25519,
    tls.SignatureAlgorithm.ECDSA_SECP384R1_SHA384,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA256,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA384,
    tls.SignatureAlgorithm.RSA_PKCS1_SHA256,
)


class TrafficSecret(NamedTuple):
    """What the keys of one direction of an encryption level are made of."""

    epoch: Epoch
    is_write: bool
    suite: CipherSuite
    secret: bytes


class TlsEngine:
    """One end of one handshake.  `poll_output` and `poll_secrets` after every call."""

    __slots__ = (
        "_context",
        "_is_failed",
        "_output",
        "_pending",
        "_secrets",
        "client_random",
        "is_client",
        "is_complete",
        "peer_id",
        "refusal",
        "remote_parameters",
    )

    def __init__(
        self,
        credentials: TlsCredentials,
        *,
        is_client: bool,
        parameters: bytes,
        expected: PeerId | None,
        unix_now: UnixTime,
        suites: tuple[CipherSuite, ...] = DEFAULT_SUITES,
    ) -> None:
        """`parameters` are ours, encoded.  `expected` is who was dialled, None for anybody."""
        self.is_client = is_client
        self.is_complete = False
        """Whether the peer has proven who it is, and all keys are known."""
        self.peer_id: PeerId | None = None
        """Who the peer is, once the handshake is complete."""
        self.remote_parameters: bytes | None = None
        """The peer's, encoded, as soon as they came; authentic once the handshake is complete."""
        self.refusal: HandshakeError | None = None
        """Why the peer's certificate was refused; PeerIdMismatch where another peer's came."""
        self._is_failed = False
        self.client_random = b""
        """What a key log names the handshake by, once it is complete."""
        self._pending = bytearray()
        self._output: list[tuple[Epoch, bytes]] = []
        self._secrets: list[TrafficSecret] = []
        context = _Context(credentials, is_client, expected, unix_now, suites)
        context.handshake_extensions = [(_TRANSPORT_PARAMETERS, parameters)]
        context.update_traffic_key_cb = self._on_secret
        self._context: _Context | None = context

    @property
    def epoch(self) -> Epoch:
        """That of the next message."""
        return Epoch.APPLICATION if self._context is None else _epoch_of(self._context.state)

    def start(self) -> None:
        """Writes the ClientHello, where this is the client."""
        assert self.is_client, "a server waits"
        context = self._context
        assert context is not None, "started twice"
        self._step(context, b"")

    def handle_crypto(self, epoch: Epoch, data: bytes) -> None:
        """Takes the next bytes of an encryption level's CRYPTO stream, in order, cut anywhere.

        Raises TransportError, whose code is CRYPTO_ERROR and a TLS alert, or that of QUIC.  Then
        this call has led to nothing, and nothing is taken any more.
        """
        if not data or self._is_failed:
            return
        try:
            self._take(epoch, data)
        except TransportError:
            self._is_failed = True
            self._context = None
            for queue in (self._pending, self._output, self._secrets):
                queue.clear()
            raise

    def poll_output(self) -> list[tuple[Epoch, bytes]]:
        """Returns what to send in CRYPTO frames, in order."""
        output, self._output = self._output, []
        return output

    def poll_secrets(self) -> list[TrafficSecret]:
        """Returns the secrets that have become known; the handshake's before 1-RTT's."""
        secrets, self._secrets = self._secrets, []
        return secrets

    def _take(self, epoch: Epoch, data: bytes) -> None:
        if epoch is not self.epoch:
            raise TransportError(
                ErrorCode.PROTOCOL_VIOLATION, "TLS messages in another epoch than theirs"
            )
        self._pending += data
        while (message := self._next_message()) is not None:
            context = self._context
            if context is None:
                self._take_late(message[0])
                continue
            self._step(context, message)
            if self._pending and _epoch_of(context.state) is not epoch:
                # RFC 8446 section 5.1: messages do not span a change of keys
                raise TransportError(
                    ErrorCode.PROTOCOL_VIOLATION, "TLS messages run over a change of keys"
                )
            if context.state in _COMPLETE:
                self.peer_id = context.peer
                self.is_complete = True
                self.client_random = context.client_random or b""
                self._context = None  # which holds this engine, and is of no use any more

    def _next_message(self) -> bytes | None:
        """Returns the next whole message, or None while there is none."""
        pending = self._pending
        if len(pending) < _HEADER_SIZE:
            return None
        end = _HEADER_SIZE + int.from_bytes(pending[1:_HEADER_SIZE], "big")
        if end > MAX_TLS_MESSAGE:
            raise _alert(tls.AlertDescription.decode_error, f"a TLS message of {end} bytes")
        if len(pending) < end:
            return None
        message = bytes(pending[:end])
        del pending[:end]
        return message

    def _take_late(self, kind: int) -> None:
        """After the handshake: tickets are of no use; nothing else may come (RFC 9001, 4.4, 6)."""
        if not self.is_client or kind != _NEW_SESSION_TICKET:
            raise _alert(
                tls.AlertDescription.unexpected_message, f"TLS message {kind} after the handshake"
            )

    def _step(self, context: "_Context", message: bytes) -> None:
        """Has aioquic handle one whole message; an empty one starts a client."""
        buffers = {epoch: Buffer(capacity=OUTPUT_SIZE) for epoch in _EPOCH_OF}
        try:
            context.handle_message(message, buffers)
        except tls.Alert as alert:
            name = alert.description.name.replace("_", " ")
            raise _alert(alert.description, str(alert) or name) from alert
        except HandshakeError as error:
            self.refusal = error
            raise _alert(tls.AlertDescription.bad_certificate, str(error)) from error
        except Exception as error:
            # The last resort: aioquic parses what strangers send.
            raise _alert(
                tls.AlertDescription.internal_error, f"TLS failed ({type(error).__name__})"
            ) from error
        for epoch, buffer in buffers.items():
            if buffer.tell():
                self._output.append((_EPOCH_OF[epoch], buffer.data))
        self._check(context)

    def _check(self, context: "_Context") -> None:
        """Looks at what libp2p and QUIC demand, and TLS by itself does not."""
        if self.remote_parameters is None and context.received_extensions is not None:
            self.remote_parameters = _parameters_of(context.received_extensions)
            if context.legacy_session_id:
                raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "TLS middlebox compatibility")
        if context.peer is None and context.state in _PROVEN:
            raise _alert(
                tls.AlertDescription.certificate_required, "the client shows no certificate"
            )

    def _on_secret(
        self, direction: tls.Direction, epoch: tls.Epoch, suite: tls.CipherSuite, secret: bytes
    ) -> None:
        is_write = direction is tls.Direction.ENCRYPT
        self._secrets.append(TrafficSecret(_EPOCH_OF[epoch], is_write, CipherSuite(suite), secret))


class _Context(tls.Context):
    """aioquic's, mutual, with libp2p's idea of a certificate.

    It leans on internals of aioquic 1.7; tests/unit/transports/quic_v1/test_aioquic_contract.py
    looks at each of them.
    """

    def __init__(
        self,
        credentials: TlsCredentials,
        is_client: bool,
        expected: PeerId | None,
        unix_now: UnixTime,
        suites: tuple[CipherSuite, ...],
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            is_client=is_client,
            alpn_protocols=[ALPN],
            cipher_suites=[tls.CipherSuite(suite) for suite in suites],
            # Nobody vouches for the certificate; that its key signs the handshake is checked still.
            verify_mode=ssl.CERT_NONE,
        )
        self.certificate = credentials.certificate
        self.certificate_private_key = credentials.private_key
        self.peer: PeerId | None = None
        self._request_client_certificate = not is_client
        self._supported_groups = list(_GROUPS)
        self._signature_algorithms = list(_SIGNATURES)
        self._expected = expected
        self._unix_now = unix_now

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        """Raises HandshakeError before the certificate's key is used for anything."""
        if len(certificate.certificates) != 1:
            raise HandshakeError(f"{len(certificate.certificates)} certificates")
        peer = peer_of_certificate_untrusted(certificate.certificates[0][0], self._unix_now)
        if self._expected not in (None, peer):
            raise PeerIdMismatch(self._expected, peer)
        with warnings.catch_warnings(action="ignore"):  # as certificate.py has it
            super()._set_peer_certificate(certificate)
        self.peer = peer


def _epoch_of(state: tls.State) -> Epoch:
    """Returns that of the next message."""
    if state in _COMPLETE:
        return Epoch.APPLICATION
    return Epoch.INITIAL if state in _BEFORE_HELLO else Epoch.HANDSHAKE


def _parameters_of(extensions: list[tuple[int, bytes]]) -> bytes:
    found = [data for kind, data in extensions if kind == _TRANSPORT_PARAMETERS]
    if not found:
        raise _alert(tls.AlertDescription.missing_extension, "no QUIC transport parameters")
    if len(found) > 1:
        raise _alert(tls.AlertDescription.illegal_parameter, "QUIC transport parameters twice")
    return found[0]


def _alert(description: tls.AlertDescription, reason: str) -> TransportError:
    return TransportError(QuicErrorCode.CRYPTO_ERROR + description, reason)
