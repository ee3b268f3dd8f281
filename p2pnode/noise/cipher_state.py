"""The CipherState object of Noise section 5.1.

The rule: a nonce is used once.  It moves after a success only, so that a forged message changes
nothing, and when all are used the state refuses to go on.
"""

from cryptography.exceptions import InvalidTag

from p2pnode.errors import DecodeError, LocalProtocolError
from p2pnode.noise.primitives import KEY_LEN, MAX_NONCE, TAG_LEN, Aead, CipherFunction

MAX_MESSAGE_SIZE = 65535  # bytes, tag included (Noise section 3)


class CipherState:
    """A key and the nonce that comes next."""

    __slots__ = ("_aead", "_cipher", "_nonce")

    def __init__(self, cipher: CipherFunction, key: bytes | None = None) -> None:
        """InitializeKey(); without a key, messages pass as they are."""
        self._cipher = cipher
        self._aead: Aead | None = None
        self._nonce = 0
        if key is not None:
            self.initialize_key(key)

    def initialize_key(self, key: bytes) -> None:
        """Sets a 32-byte key; nonces begin anew."""
        if len(key) != KEY_LEN:
            raise LocalProtocolError(f"cipher keys are {KEY_LEN} bytes long")
        self._aead = self._cipher.new(key)
        self._nonce = 0

    @property
    def has_key(self) -> bool:
        return self._aead is not None

    @property
    def nonce(self) -> int:
        """The nonce of the next message."""
        return self._nonce

    def set_nonce(self, nonce: int) -> None:
        """Sets the next nonce, for transports that carry it in the message.

        Raises LocalProtocolError outside 0..2**64-1.  Whether it was used before is not checked.
        """
        if not 0 <= nonce <= MAX_NONCE:
            raise LocalProtocolError(f"nonce {nonce} is out of range")
        self._nonce = nonce

    def encrypt_with_ad(self, ad: bytes, plaintext: bytes) -> bytes:
        """Returns the ciphertext; the plaintext itself while there is no key.

        Raises LocalProtocolError where the message would be too long or the nonces are used up.
        """
        overhead = 0 if self._aead is None else TAG_LEN
        if len(plaintext) + overhead > MAX_MESSAGE_SIZE:
            raise LocalProtocolError(f"a Noise message has at most {MAX_MESSAGE_SIZE} bytes")
        if self._aead is None:
            return plaintext
        if self._nonce >= MAX_NONCE:
            raise LocalProtocolError("all nonces of this key are used up")
        ciphertext = self._aead.encrypt(self._cipher.nonce(self._nonce), plaintext, ad)
        self._nonce += 1
        return ciphertext

    def decrypt_with_ad(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Returns the plaintext.  Untrusted; raises DecodeError only, and changes nothing then."""
        if len(ciphertext) > MAX_MESSAGE_SIZE:
            raise DecodeError(f"a Noise message has at most {MAX_MESSAGE_SIZE} bytes")
        if self._aead is None:
            return ciphertext
        if self._nonce >= MAX_NONCE:
            raise DecodeError("the peer went on after all nonces of its key were used up")
        try:
            plaintext = self._aead.decrypt(self._cipher.nonce(self._nonce), ciphertext, ad)
        except InvalidTag:
            raise DecodeError("a Noise message is forged or damaged") from None
        self._nonce += 1
        return plaintext

    def rekey(self) -> None:
        """Replaces the key by a one-way function of it; the nonce goes on (Noise section 11.3).

        Raises LocalProtocolError while there is no key.
        """
        if self._aead is None:
            raise LocalProtocolError("there is no key to replace")
        stream = self._aead.encrypt(self._cipher.nonce(MAX_NONCE), bytes(KEY_LEN), b"")
        self._aead = self._cipher.new(stream[:KEY_LEN])

    def copy(self) -> "CipherState":
        """Returns an independent state; only one of the two may go on to encrypt."""
        twin = CipherState(self._cipher)
        twin._aead = self._aead  # immutable
        twin._nonce = self._nonce
        return twin
