"""The Noise protocol framework, revision 34, by the names of its specification (specs/noise.md)."""

from p2pnode.noise.cipher_state import MAX_MESSAGE_SIZE, CipherState
from p2pnode.noise.handshake_state import HandshakeState
from p2pnode.noise.patterns import IK, XX, NoiseProtocol
from p2pnode.noise.primitives import KeyPair

__all__ = [
    "IK",
    "MAX_MESSAGE_SIZE",
    "XX",
    "CipherState",
    "HandshakeState",
    "KeyPair",
    "NoiseProtocol",
]
