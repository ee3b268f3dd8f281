"""The SymmetricState object of Noise section 5.2: chaining key, handshake hash and a cipher.

The rule: everything that either side said is in the hash before anything is encrypted with it, so
that both ends agree on the whole conversation or on nothing.
"""

from p2pnode.noise.cipher_state import CipherState
from p2pnode.noise.patterns import NoiseProtocol
from p2pnode.noise.primitives import KEY_LEN


class SymmetricState:
    """What the messages so far have established."""

    __slots__ = ("_chaining_key", "_hash", "_hash_function", "_protocol", "cipher_state")

    def __init__(self, protocol: NoiseProtocol) -> None:
        """InitializeSymmetric()."""
        self._protocol = protocol
        self._hash_function = protocol.hash_function
        name = protocol.name.encode("ascii")
        if len(name) <= self._hash_function.hash_len:
            self._hash = name.ljust(self._hash_function.hash_len, b"\0")
        else:
            self._hash = self._hash_function.digest(name)
        self._chaining_key = self._hash
        self.cipher_state = CipherState(protocol.cipher)

    @property
    def handshake_hash(self) -> bytes:
        """GetHandshakeHash(): binds to this conversation once the handshake is finished."""
        return self._hash

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = self._hash_function.hkdf(self._chaining_key, material)
        self.cipher_state.initialize_key(key[:KEY_LEN])

    def mix_hash(self, data: bytes) -> None:
        self._hash = self._hash_function.digest(self._hash + data)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Mixes a pre-shared key in."""
        self._chaining_key, mixed, key = self._hash_function.hkdf3(self._chaining_key, material)
        self.mix_hash(mixed)
        self.cipher_state.initialize_key(key[:KEY_LEN])

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self.cipher_state.encrypt_with_ad(self._hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Returns the plaintext.  Untrusted; raises DecodeError only, and changes nothing then."""
        plaintext = self.cipher_state.decrypt_with_ad(self._hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split_secrets(self) -> tuple[bytes, bytes]:
        """Returns the keys of Split(), 32 bytes each: initiator to responder, and back."""
        first, second = self._hash_function.hkdf(self._chaining_key, b"")
        return first[:KEY_LEN], second[:KEY_LEN]

    def split(self) -> tuple[CipherState, CipherState]:
        """Returns the ciphers of Split(): initiator to responder, and back."""
        first, second = self.split_secrets()
        cipher = self._protocol.cipher
        return CipherState(cipher, first), CipherState(cipher, second)

    def copy(self) -> "SymmetricState":
        """Returns an independent state; a few pointers are copied, no key is computed."""
        twin = SymmetricState.__new__(SymmetricState)
        twin._protocol = self._protocol
        twin._hash_function = self._hash_function
        twin._hash = self._hash
        twin._chaining_key = self._chaining_key
        twin.cipher_state = self.cipher_state.copy()
        return twin
