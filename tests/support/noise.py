"""Builders for Noise handshakes in tests: both sides of any protocol, from a seed."""

from collections.abc import Sequence
from random import Random

from p2pnode.noise import HandshakeState, KeyPair, NoiseProtocol

INITIATOR_STATIC = KeyPair.from_secret(b"\x11" * 32)
RESPONDER_STATIC = KeyPair.from_secret(b"\x22" * 32)


def make_side(
    protocol: NoiseProtocol,
    *,
    initiator: bool,
    seed: int = 0,
    prologue: bytes = b"prologue",
    psks: Sequence[bytes] | None = None,
) -> HandshakeState:
    """Returns one side with the keys that the pattern asks for."""
    pattern = protocol.pattern
    ours, theirs = INITIATOR_STATIC, RESPONDER_STATIC
    if not initiator:
        ours, theirs = theirs, ours
    has_static = pattern.sends_static(initiator=initiator) or pattern.static_known(
        initiator=initiator
    )
    return HandshakeState(
        protocol,
        initiator=initiator,
        prologue=prologue,
        entropy=Random(f"{seed}/{initiator}").randbytes,
        s=ours if has_static else None,
        rs=theirs.public if pattern.static_known(initiator=not initiator) else None,
        psks=[bytes([n]) * 32 for n in range(pattern.psk_count)] if psks is None else psks,
    )


def make_pair(protocol: NoiseProtocol, *, seed: int = 0) -> tuple[HandshakeState, HandshakeState]:
    """Returns initiator and responder."""
    return (
        make_side(protocol, initiator=True, seed=seed),
        make_side(protocol, initiator=False, seed=seed),
    )


def finish(initiator: HandshakeState, responder: HandshakeState) -> None:
    """Exchanges all messages that are left, with empty payloads."""
    while not (initiator.is_finished and responder.is_finished):
        if initiator.is_our_turn:
            responder.read_message(initiator.write_message())
        else:
            initiator.read_message(responder.write_message())
