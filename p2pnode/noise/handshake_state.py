"""The HandshakeState object of Noise section 5.3, made for datagrams (specs/noise.md).

The rule: a message takes effect as a whole or not at all.  `write_message` and `read_message` work
on a copy and keep it only at the end, so whoever forges a packet cannot spoil a handshake.  Where a
message may authenticate and still turn out to be unwanted (its payload is somebody else's), read it
with `copy()` and keep the copy that pleased.
"""

from collections.abc import Sequence

from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, HandshakeError, LocalProtocolError
from p2pnode.noise.cipher_state import MAX_MESSAGE_SIZE, CipherState
from p2pnode.noise.patterns import NoiseProtocol, Token
from p2pnode.noise.primitives import DH_LEN, KEY_LEN, TAG_LEN, KeyPair, x25519
from p2pnode.noise.symmetric_state import SymmetricState


class HandshakeState:
    """One side of one handshake."""

    __slots__ = (
        "_e",
        "_entropy",
        "_initiator",
        "_message_index",
        "_protocol",
        "_psk_index",
        "_psks",
        "_re",
        "_rs",
        "_s",
        "_symmetric",
    )

    def __init__(
        self,
        protocol: NoiseProtocol,
        *,
        initiator: bool,
        prologue: bytes,
        entropy: Entropy,
        s: KeyPair | None = None,
        rs: bytes | None = None,
        psks: Sequence[bytes] = (),
    ) -> None:
        """Initialize().

        The names are Noise's: `s` is our static key pair, `rs` the remote static public key where
        the pattern wants it known beforehand, `psks` are 32 bytes each in the order of the psk
        tokens.  The ephemeral key pair is made of `entropy(32)` when its token is written.

        Raises LocalProtocolError where the pattern lacks one of these or has no use for it.
        """
        _check_keys(protocol, initiator=initiator, s=s, rs=rs, psks=psks)
        self._protocol = protocol
        self._initiator = initiator
        self._entropy = entropy
        self._s = s
        self._e: KeyPair | None = None
        self._rs = rs
        self._re: bytes | None = None
        self._psks = tuple(psks)
        self._psk_index = 0
        self._message_index = 0
        self._symmetric = SymmetricState(protocol)
        self._symmetric.mix_hash(prologue)
        for of_initiator in (True, False):
            if protocol.pattern.static_known(initiator=of_initiator):
                ours = s.public if s is not None else b""
                self._symmetric.mix_hash(ours if of_initiator == initiator else rs or b"")

    @property
    def is_initiator(self) -> bool:
        return self._initiator

    @property
    def is_finished(self) -> bool:
        """True once all messages of the pattern were written or read."""
        return self._message_index == len(self._protocol.pattern.messages)

    @property
    def is_our_turn(self) -> bool:
        """True where `write_message` comes next."""
        return not self.is_finished and (self._message_index % 2 == 0) == self._initiator

    @property
    def remote_static(self) -> bytes | None:
        """The peer's static public key, once known; proven when the handshake is finished."""
        return self._rs

    @property
    def handshake_hash(self) -> bytes:
        """The channel binding (Noise section 11.2).  Raises LocalProtocolError before the end."""
        self._require_finished()
        return self._symmetric.handshake_hash

    def write_message(self, payload: bytes = b"") -> bytes:
        """Returns the next message.

        Raises LocalProtocolError where it is not our turn or the message would pass 65535 bytes,
        and HandshakeError where the peer sent, in an earlier message, a public key of low order.
        """
        if not self.is_our_turn:
            raise LocalProtocolError("it is not our turn to write a handshake message")
        draft = self.copy()
        parts = [draft._write_token(token) for token in self._next_tokens()]
        parts.append(draft._symmetric.encrypt_and_hash(payload))
        message = b"".join(parts)
        if len(message) > MAX_MESSAGE_SIZE:
            raise LocalProtocolError(f"a Noise message has at most {MAX_MESSAGE_SIZE} bytes")
        draft._message_index += 1
        self._keep(draft)
        return message

    def read_message(self, message: bytes) -> bytes:
        """Returns the payload of the peer's next message.  Untrusted input.

        Raises DecodeError where the message is too short or too long to be the next one, and
        HandshakeError where something in it does not authenticate; the state is then as before.
        Raises LocalProtocolError where it is our turn to write, or the handshake is finished.
        """
        if self.is_finished or self.is_our_turn:
            raise LocalProtocolError("no handshake message is expected now")
        if len(message) > MAX_MESSAGE_SIZE:
            raise DecodeError(f"a Noise message has at most {MAX_MESSAGE_SIZE} bytes")
        draft = self.copy()
        offset = 0
        for token in self._next_tokens():
            offset = draft._read_token(token, message, offset)
        payload = draft._open(_take(message, offset, len(message), draft._overhead()))
        draft._message_index += 1
        self._keep(draft)
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Returns the ciphers for transport messages: the initiator's sending one, then the other.

        Raises LocalProtocolError before the end of the handshake.
        """
        self._require_finished()
        return self._symmetric.split()

    def split_secrets(self) -> tuple[bytes, bytes]:
        """Returns the two keys of Split() for a key schedule of one's own, in the order of `split`.

        Raises LocalProtocolError before the end of the handshake.
        """
        self._require_finished()
        return self._symmetric.split_secrets()

    def copy(self) -> "HandshakeState":
        """Returns an independent state; a few pointers are copied, no key is computed.

        Two copies that both write use two ephemeral keys, unless one was written before.
        """
        twin = HandshakeState.__new__(HandshakeState)
        twin._protocol = self._protocol
        twin._initiator = self._initiator
        twin._entropy = self._entropy
        twin._s = self._s
        twin._psks = self._psks
        twin._keep(self)
        twin._symmetric = self._symmetric.copy()
        return twin

    def _keep(self, draft: "HandshakeState") -> None:
        """Takes over what messages change."""
        self._e = draft._e
        self._re = draft._re
        self._rs = draft._rs
        self._psk_index = draft._psk_index
        self._message_index = draft._message_index
        self._symmetric = draft._symmetric

    def _next_tokens(self) -> tuple[Token, ...]:
        return self._protocol.pattern.messages[self._message_index]

    def _require_finished(self) -> None:
        if not self.is_finished:
            raise LocalProtocolError("the handshake is not finished")

    def _overhead(self) -> int:
        """Returns how many bytes encryption adds at this point of the handshake."""
        return TAG_LEN if self._symmetric.cipher_state.has_key else 0

    def _write_token(self, token: Token) -> bytes:
        """Returns the bytes that go out for a token."""
        match token:
            case Token.E:
                self._e = KeyPair.generate(self._entropy)
                self._mix_ephemeral(self._e.public)
                return self._e.public
            case Token.S:
                assert self._s is not None  # checked by the constructor
                return self._symmetric.encrypt_and_hash(self._s.public)
            case _:
                self._mix_secret(token)
                return b""

    def _read_token(self, token: Token, message: bytes, offset: int) -> int:
        """Takes a token's bytes at `offset` and returns the offset behind them."""
        match token:
            case Token.E:
                end = offset + DH_LEN
                self._re = _take(message, offset, end, DH_LEN)
                self._mix_ephemeral(self._re)
                return end
            case Token.S:
                length = DH_LEN + self._overhead()
                end = offset + length
                self._rs = self._open(_take(message, offset, end, length))
                return end
            case _:
                self._mix_secret(token)
                return offset

    def _open(self, ciphertext: bytes) -> bytes:
        try:
            return self._symmetric.decrypt_and_hash(ciphertext)
        except DecodeError as error:
            raise HandshakeError(f"a handshake message does not authenticate: {error}") from None

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._protocol.pattern.psk_count:
            # A psk alone would give the same key, with the same nonces, every time (section 9.2).
            self._symmetric.mix_key(public)

    def _mix_secret(self, token: Token) -> None:
        """Mixes a psk or a Diffie-Hellman result in."""
        if token is Token.PSK:
            self._symmetric.mix_key_and_hash(self._psks[self._psk_index])
            self._psk_index += 1
            return
        # The first letter names the initiator's key, the second the responder's.
        ours, theirs = token.value if self._initiator else reversed(token.value)
        pair = self._e if ours == "e" else self._s
        public = self._re if theirs == "e" else self._rs
        assert pair is not None  # cannot be otherwise: by the pattern and the constructor's checks
        assert public is not None
        self._symmetric.mix_key(x25519(pair.secret, public))


def _take(message: bytes, start: int, end: int, at_least: int) -> bytes:
    """Returns a slice of an untrusted message, or raises DecodeError where it is too short."""
    part = message[start:end]
    if len(part) < at_least:
        raise DecodeError("a Noise handshake message is too short")
    return part


def _check_keys(
    protocol: NoiseProtocol,
    *,
    initiator: bool,
    s: KeyPair | None,
    rs: bytes | None,
    psks: Sequence[bytes],
) -> None:
    pattern = protocol.pattern
    needs_s = pattern.sends_static(initiator=initiator) or pattern.static_known(initiator=initiator)
    if needs_s != (s is not None):
        raise LocalProtocolError(
            f"{pattern.name} needs a static key" if needs_s else f"{pattern.name} has no static key"
        )
    knows_rs = pattern.static_known(initiator=not initiator)
    if knows_rs != (rs is not None):
        raise LocalProtocolError(
            f"{pattern.name} needs the remote static key"
            if knows_rs
            else f"{pattern.name} does not know the remote static key beforehand"
        )
    if rs is not None and len(rs) != DH_LEN:
        raise LocalProtocolError(f"X25519 public keys are {DH_LEN} bytes long")
    if len(psks) != pattern.psk_count or any(len(psk) != KEY_LEN for psk in psks):
        raise LocalProtocolError(
            f"{pattern.name} takes {pattern.psk_count} psks of {KEY_LEN} bytes each"
        )
