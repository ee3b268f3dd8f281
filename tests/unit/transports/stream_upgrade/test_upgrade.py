"""The upgrade of a byte link, hand-stepped: both sides, or one side and bytes made by hand."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DecodeError, HandshakeError, LocalProtocolError, PeerIdMismatch
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.noise import XX, HandshakeState, KeyPair
from p2pnode.noise.payload import HandshakePayload, make_payload
from p2pnode.transports.stream_upgrade.noise_channel import encode_noise_frame
from p2pnode.transports.stream_upgrade.upgrade import (
    MAX_HANDSHAKE_MESSAGE,
    NOISE_PROTOCOL,
    UPGRADE_TIMEOUT,
    YAMUX_PROTOCOL,
    StreamUpgrade,
    UpgradeCredentials,
    Upgraded,
    UpgradeFailed,
)
from p2pnode.wire.multistream.messages import MULTISTREAM_PROTOCOL, encode_message
from p2pnode.wire.multistream.negotiation import MAX_PROPOSALS

ENTROPY = random.Random(11).randbytes
ALICE = PrivateKey.generate(ENTROPY)
BOB = PrivateKey.generate(ENTROPY)
HEADER = encode_message(MULTISTREAM_PROTOCOL)
NOISE = encode_message(NOISE_PROTOCOL)


def id_of(key: PrivateKey) -> PeerId:
    return PeerId.from_public_key(key.public_key)


def side(
    key: PrivateKey,
    *,
    is_initiator: bool,
    expected: PeerId | None = None,
    muxers: tuple[str, ...] = (YAMUX_PROTOCOL,),
    names_early: bool = True,
    credentials: UpgradeCredentials | None = None,
) -> StreamUpgrade:
    if credentials is None:
        credentials = UpgradeCredentials.create(
            key, ENTROPY, muxers=muxers, names_early=names_early
        )
    return StreamUpgrade(
        credentials, is_initiator=is_initiator, expected=expected, entropy=ENTROPY, now=0.0
    )


def carry(alice: StreamUpgrade, bob: StreamUpgrade, sizes: Iterator[int] | None = None) -> None:
    """Carries bytes both ways until nothing moves; what comes behind an outcome is kept."""
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((alice, bob), (bob, alice)):
            data = sender.poll_output()
            moved = moved or bool(data)
            while data and receiver.outcome is None:
                size = len(data) if sizes is None else next(sizes)
                receiver.handle_data(data[:size])
                data = data[size:]


def upgraded(upgrade: StreamUpgrade) -> Upgraded:
    assert isinstance(upgrade.outcome, Upgraded)
    return upgrade.outcome


def failure(upgrade: StreamUpgrade) -> Exception:
    assert isinstance(upgrade.outcome, UpgradeFailed)
    return upgrade.outcome.error


@pytest.mark.spec("UPG-1", "UPG-3", "UPG-4")
@pytest.mark.parametrize("early_of_initiator", [True, False])
@pytest.mark.parametrize("early_of_responder", [True, False])
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_both_sides_agree_however_the_bytes_are_cut(
    early_of_initiator: bool, early_of_responder: bool, sizes: list[int]
) -> None:
    alice = side(ALICE, is_initiator=True, expected=id_of(BOB), names_early=early_of_initiator)
    bob = side(BOB, is_initiator=False, names_early=early_of_responder)

    carry(alice, bob, (size for _ in range(10_000) for size in sizes))

    ours, theirs = upgraded(alice), upgraded(bob)
    assert (ours.peer_id, theirs.peer_id) == (id_of(BOB), id_of(ALICE))
    assert ours.muxer == theirs.muxer == YAMUX_PROTOCOL
    text = ENTROPY(70_000)
    assert theirs.channel.decrypt_untrusted(ours.channel.encrypt(text)) == text
    assert ours.channel.decrypt_untrusted(theirs.channel.encrypt(text)) == text


@pytest.mark.spec("UPG-4")
def test_the_order_of_the_initiator_decides() -> None:
    alice = side(ALICE, is_initiator=True, muxers=("/b", "/a"))
    bob = side(BOB, is_initiator=False, muxers=("/a", "/b"))

    carry(alice, bob)

    assert upgraded(alice).muxer == upgraded(bob).muxer == "/b"


@pytest.mark.spec("UPG-5")
def test_the_muxers_first_bytes_are_handed_on() -> None:
    alice = side(ALICE, is_initiator=True)
    bob = side(BOB, is_initiator=False)
    bob.handle_data(alice.poll_output())
    alice.handle_data(bob.poll_output())
    sent = alice.poll_output() + upgraded(alice).channel.encrypt(b"first")
    later = upgraded(alice).channel.encrypt(b"second")

    bob.handle_data(sent + later[:5])

    assert upgraded(bob).rest == b"first"
    assert upgraded(bob).channel.decrypt_untrusted(later[5:]) == b"second"


@pytest.mark.spec("UPG-5")
def test_the_muxers_first_bytes_are_handed_on_behind_a_negotiation_inside_the_channel() -> None:
    """go-libp2p sends them straight behind its proposal, without waiting for the answer."""
    alice = side(ALICE, is_initiator=True, names_early=False)
    bob = side(BOB, is_initiator=False, names_early=False)
    bob.handle_data(alice.poll_output())
    alice.handle_data(bob.poll_output())
    assert alice._channel is not None

    bob.handle_data(alice.poll_output() + alice._channel.encrypt(b"first"))

    assert upgraded(bob).rest == b"first"


@pytest.mark.spec("UPG-1")
def test_other_securities_are_refused_and_the_listener_goes_on() -> None:
    alice = side(ALICE, is_initiator=True)
    bob = side(BOB, is_initiator=False)

    bob.handle_data(HEADER + encode_message("/tls/1.0.0"))
    assert bob.poll_output() == HEADER + encode_message("na")
    bob.handle_data(alice.poll_output().removeprefix(HEADER))
    alice.handle_data(HEADER + bob.poll_output())
    bob.handle_data(alice.poll_output())

    assert upgraded(bob).peer_id == id_of(ALICE)


@pytest.mark.spec("UPG-6")
@pytest.mark.parametrize("is_initiator", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 12,  # a varint that overflows
        b"GET / HTTP/1.1\r\n\r\n" * 8,
        HEADER + encode_message("na") * 40,
        HEADER + NOISE + b"\0\0",
        HEADER + NOISE + b"\xff\xff",
        HEADER + NOISE + encode_noise_frame(bytes(MAX_HANDSHAKE_MESSAGE)),  # of low order
        HEADER + NOISE + (MAX_HANDSHAKE_MESSAGE + 1).to_bytes(2),
    ],
)
def test_bad_bytes_are_a_refusal(is_initiator: bool, data: bytes) -> None:
    upgrade = side(ALICE, is_initiator=is_initiator)

    upgrade.handle_data(data)

    assert isinstance(failure(upgrade), DecodeError | HandshakeError)
    with pytest.raises(LocalProtocolError):
        upgrade.handle_data(b"x")


@pytest.mark.spec("UPG-6")
def test_a_flood_of_proposals_is_ended_with_bounded_answers() -> None:
    bob = side(BOB, is_initiator=False)

    bob.handle_data(HEADER + encode_message("/tls/1.0.0") * 10_000)

    assert "too many" in str(failure(bob))
    assert bob.poll_output() == HEADER + encode_message("na") * MAX_PROPOSALS


@pytest.mark.spec("UPG-6")
@pytest.mark.parametrize("names_early", [True, False])
def test_a_muxer_that_was_not_offered_is_refused_by_both(names_early: bool) -> None:
    alice = side(ALICE, is_initiator=True, muxers=("/mplex/6.7.0",), names_early=names_early)
    bob = side(BOB, is_initiator=False, names_early=names_early)

    carry(alice, bob)
    bob.handle_eof()

    assert "/mplex/6.7.0" in str(failure(alice))
    assert "ended" in str(failure(bob))


@pytest.mark.spec("UPG-2")
@pytest.mark.parametrize("forger_is_initiator", [True, False])
def test_a_forged_payload_signature_is_refused(forger_is_initiator: bool) -> None:
    static = KeyPair.generate(ENTROPY)
    payload = HandshakePayload(BOB.public_key, bytes(64)).encode()
    forged = UpgradeCredentials(static, payload, (YAMUX_PROTOCOL,), names_early=False)
    forger = side(BOB, is_initiator=forger_is_initiator, credentials=forged)
    victim = side(ALICE, is_initiator=not forger_is_initiator)

    if forger_is_initiator:
        carry(forger, victim)
    else:
        carry(victim, forger)

    assert "not signed" in str(failure(victim))


@pytest.mark.spec("UPG-2")
def test_another_peer_than_dialled_is_refused_and_does_not_learn_who_dialled() -> None:
    alice = side(ALICE, is_initiator=True, expected=id_of(ALICE))
    bob = side(BOB, is_initiator=False)
    bob.handle_data(alice.poll_output())

    alice.handle_data(bob.poll_output())

    assert isinstance(failure(alice), PeerIdMismatch)
    assert alice.poll_output() == b""


@pytest.mark.spec("UPG-2")
def test_the_prologue_is_empty_and_the_payload_is_libp2ps() -> None:
    """Against a bare handshake, which shares no code with the upgrade but Noise itself."""
    alice = side(ALICE, is_initiator=True)
    static = KeyPair.generate(ENTROPY)
    bare = HandshakeState(XX, initiator=False, prologue=b"", entropy=ENTROPY, s=static)
    first = alice.poll_output().removeprefix(HEADER + NOISE)
    assert bare.read_message(first[2:]) == b""
    payload = make_payload(BOB, static.public, stream_muxers=(YAMUX_PROTOCOL.encode(),)).encode()

    alice.handle_data(HEADER + NOISE + encode_noise_frame(bare.write_message(payload)))

    bare.read_message(alice.poll_output()[2:])
    of_alice, of_bare = bare.split()
    sent = upgraded(alice).channel.encrypt(b"to bob")
    assert of_alice.decrypt_with_ad(b"", sent[2:]) == b"to bob"
    answer = encode_noise_frame(of_bare.encrypt_with_ad(b"", b"to alice"))
    assert upgraded(alice).channel.decrypt_untrusted(answer) == b"to alice"
    assert upgraded(alice).peer_id == id_of(BOB)
    assert upgraded(alice).muxer == YAMUX_PROTOCOL


@pytest.mark.spec("UPG-7")
@pytest.mark.parametrize("is_initiator", [True, False])
def test_who_sends_a_byte_now_and_then_is_ended_in_time(is_initiator: bool) -> None:
    upgrade = side(ALICE, is_initiator=is_initiator)
    upgrade.handle_data(HEADER[:1])
    upgrade.handle_timeout(UPGRADE_TIMEOUT - 1)
    upgrade.handle_data(HEADER[1:2])
    deadline = upgrade.poll_timeout()
    assert upgrade.outcome is None
    assert deadline is not None
    assert deadline.at == UPGRADE_TIMEOUT

    upgrade.handle_timeout(deadline.at)

    assert "10 s" in str(failure(upgrade))
    assert upgrade.poll_timeout() is None


@pytest.mark.spec("UPG-6")
@given(data=st.binary(max_size=400), is_initiator=st.booleans(), agreed=st.booleans())
def test_no_bytes_raise_or_upgrade(data: bytes, is_initiator: bool, agreed: bool) -> None:
    upgrade = side(ALICE, is_initiator=is_initiator)

    upgrade.handle_data((HEADER + NOISE if agreed else b"") + data)

    assert not isinstance(upgrade.outcome, Upgraded)
