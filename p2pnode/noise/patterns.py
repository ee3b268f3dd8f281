"""Handshake patterns as data, and protocol names (Noise sections 7 to 9; specs/noise.md, Patterns).

The rule: a pattern is what the Noise specification draws, token by token; the code that runs
handshakes has no knowledge of any single pattern.  There are the twelve fundamental interactive
patterns and the psk modifiers; no one-way, deferred or fallback pattern, for which we have no use.
"""

import enum
from dataclasses import dataclass, replace

from p2pnode.errors import LocalProtocolError
from p2pnode.noise import primitives
from p2pnode.noise.primitives import CipherFunction, HashFunction


class Token(enum.Enum):
    """One step of a message (Noise section 7.1).  Of two letters the first is the initiator's."""

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    SS = "ss"
    PSK = "psk"


@dataclass(frozen=True, slots=True)
class HandshakePattern:
    """Which keys are known beforehand, and the tokens of each message, the initiator's first."""

    name: str
    messages: tuple[tuple[Token, ...], ...]
    initiator_static_known: bool = False
    """The pre-message `-> s`."""
    responder_static_known: bool = False
    """The pre-message `<- s`."""

    @property
    def psk_count(self) -> int:
        return sum(tokens.count(Token.PSK) for tokens in self.messages)

    def sends_static(self, *, initiator: bool) -> bool:
        """Tells whether that side transmits its static key."""
        return any(Token.S in tokens for tokens in self.messages[0 if initiator else 1 :: 2])

    def static_known(self, *, initiator: bool) -> bool:
        """Tells whether that side's static key is a pre-message."""
        return self.initiator_static_known if initiator else self.responder_static_known

    def with_psk(self, position: int) -> "HandshakePattern":
        """Returns the pattern with modifier `psk<position>`: 0 begins message 1, n ends message n.

        Raises LocalProtocolError where the pattern has no such message.
        """
        if not 0 <= position <= len(self.messages):
            raise LocalProtocolError(f"{self.name} has no message {position} for a psk")
        messages = list(self.messages)
        if position == 0:
            messages[0] = (Token.PSK, *messages[0])
        else:
            messages[position - 1] = (*messages[position - 1], Token.PSK)
        return replace(self, messages=tuple(messages))


def _draw(name: str, *messages: str) -> HandshakePattern:
    """Reads one pattern; its name says whose static key is known: K in first or second place."""
    return HandshakePattern(
        name,
        tuple(tuple(Token(word) for word in message.split()) for message in messages),
        initiator_static_known=name[0] == "K",
        responder_static_known=name[1] == "K",
    )


_PATTERNS = {
    pattern.name: pattern
    for pattern in (
        _draw("NN", "e", "e ee"),
        _draw("NK", "e es", "e ee"),
        _draw("NX", "e", "e ee s es"),
        _draw("KN", "e", "e ee se"),
        _draw("KK", "e es ss", "e ee se"),
        _draw("KX", "e", "e ee se s es"),
        _draw("XN", "e", "e ee", "s se"),
        _draw("XK", "e es", "e ee", "s se"),
        _draw("XX", "e", "e ee s es", "s se"),
        _draw("IN", "e s", "e ee se"),
        _draw("IK", "e es s ss", "e ee se"),
        _draw("IX", "e s", "e ee se s es"),
    )
}

_CIPHERS = {c.name: c for c in (primitives.CHACHAPOLY, primitives.AES256GCM)}
_HASHES = {
    h.name: h
    for h in (primitives.SHA256, primitives.SHA512, primitives.BLAKE2S, primitives.BLAKE2B)
}


@dataclass(frozen=True, slots=True)
class NoiseProtocol:
    """What a name like Noise_XX_25519_ChaChaPoly_SHA256 stands for.  DH is always 25519."""

    name: str
    pattern: HandshakePattern
    cipher: CipherFunction
    hash_function: HashFunction

    @classmethod
    def from_name(cls, name: str) -> "NoiseProtocol":
        """Returns the protocol of a name.

        Raises LocalProtocolError where we lack a part of it: names come from code, not from peers.
        """
        match name.split("_"):
            case ["Noise", pattern, "25519", cipher, hash_name] if (
                cipher in _CIPHERS and hash_name in _HASHES
            ):
                return cls(name, _find_pattern(pattern), _CIPHERS[cipher], _HASHES[hash_name])
            case _:
                raise LocalProtocolError(f"no such Noise protocol: {name!r}")


def _find_pattern(name: str) -> HandshakePattern:
    """Returns the pattern of a name like XX, XXpsk3 or NNpsk0+psk2."""
    fundamental, modifiers = name[:2], name[2:]
    if fundamental not in _PATTERNS:
        raise LocalProtocolError(f"no such Noise pattern: {name!r}")
    pattern = _PATTERNS[fundamental]
    for modifier in modifiers.split("+") if modifiers else ():
        position = modifier.removeprefix("psk")
        if position == modifier or position not in {"0", "1", "2", "3"}:
            raise LocalProtocolError(f"no such Noise pattern modifier: {modifier!r}")
        pattern = pattern.with_psk(int(position))
    return replace(pattern, name=name)


XX = NoiseProtocol.from_name("Noise_XX_25519_ChaChaPoly_SHA256")
"""libp2p's, and noise-udp's where the dialled peer's static key is unknown."""
IK = NoiseProtocol.from_name("Noise_IK_25519_ChaChaPoly_SHA256")
"""One round trip less, where the responder's static key is known."""
