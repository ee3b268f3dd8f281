"""From messages to what is known of a peer."""

from dataclasses import replace

import pytest

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_record import seal_peer_record
from p2pnode.protocols.identify.info import IdentifyInfo, apply_push, info_of_message_untrusted
from p2pnode.protocols.identify.messages import IdentifyMessage
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id, private_key

LISTED = parse_multiaddr("/ip4/1.1.1.1/udp/1/noise")
SIGNED = parse_multiaddr("/ip4/2.2.2.2/udp/2/noise")
OBSERVED = parse_multiaddr("/ip4/3.3.3.3/udp/3/noise")
ENVELOPE = seal_peer_record(private_key("a"), [SIGNED], 1)
ALICE = peer_id("a")


@pytest.mark.spec("IDENTIFY-8")
def test_a_valid_signed_record_beats_the_list() -> None:
    message = IdentifyMessage(listen_addrs=(LISTED,), signed_peer_record=ENVELOPE.encode())

    info = info_of_message_untrusted(message, ALICE)

    assert info.listen_addrs == (SIGNED,)
    assert info.signed_peer_record == ENVELOPE


@pytest.mark.spec("IDENTIFY-8")
@pytest.mark.parametrize(
    "record",
    [
        b"nonsense",
        seal_peer_record(private_key("b"), [SIGNED], 1).encode(),
        replace(ENVELOPE, signature=bytes(64)).encode(),
    ],
    ids=["malformed", "another peer's", "bad signature"],
)
def test_a_bad_record_leaves_the_list_in_force(record: bytes) -> None:
    message = IdentifyMessage(listen_addrs=(LISTED,), signed_peer_record=record)

    info = info_of_message_untrusted(message, ALICE)

    assert info.listen_addrs == (LISTED,)
    assert info.signed_peer_record is None


@pytest.mark.spec("IDENTIFY-5")
def test_another_public_key_fails_and_none_does_not() -> None:
    with pytest.raises(DecodeError, match="not its own"):
        info_of_message_untrusted(IdentifyMessage(public_key=private_key("b").public_key), ALICE)

    assert info_of_message_untrusted(IdentifyMessage(), ALICE) == IdentifyInfo(ALICE)


@pytest.mark.spec("IDENTIFY-6")
@pytest.mark.spec("IDENTITY-17")
def test_a_record_with_a_lower_number_counts_when_it_comes_later() -> None:
    """The peer's clock was years ahead, and has been set right."""
    ahead, right = (
        seal_peer_record(private_key("a"), [addr], seq).encode()
        for addr, seq in ((LISTED, 2_100_000_000 * 10**9), (SIGNED, 1_800_000_000 * 10**9))
    )
    info = info_of_message_untrusted(IdentifyMessage(signed_peer_record=ahead), ALICE)
    assert info.record_seq == 2_100_000_000 * 10**9
    info = apply_push(info, IdentifyMessage(signed_peer_record=right))
    assert info.listen_addrs == (SIGNED,)
    assert info.record_seq == 1_800_000_000 * 10**9
    assert apply_push(info, IdentifyMessage(listen_addrs=(LISTED,))).record_seq is None


def test_a_push_changes_only_what_it_mentions() -> None:
    info = IdentifyInfo(ALICE, (LISTED,), ("/a",), OBSERVED, "agent", "version", ENVELOPE)

    assert apply_push(info, IdentifyMessage()) == info
    assert apply_push(info, IdentifyMessage(protocols=("/b",))) == replace(info, protocols=("/b",))
    assert apply_push(info, IdentifyMessage(agent_version="", protocol_version="2")) == replace(
        info, agent_version="", protocol_version="2"
    )
    # A new list makes the old record stale.
    assert apply_push(info, IdentifyMessage(listen_addrs=(SIGNED,))) == replace(
        info, listen_addrs=(SIGNED,), signed_peer_record=None
    )


@pytest.mark.spec("IDENTIFY-9")
def test_an_address_observed_over_a_relay_is_ignored() -> None:
    relayed = parse_multiaddr(f"/ip4/1.1.1.1/udp/1/noise/p2p/{peer_id('relay')}/p2p-circuit")

    assert (
        info_of_message_untrusted(IdentifyMessage(observed_addr=OBSERVED), ALICE).observed_addr
        == OBSERVED
    )
    assert (
        info_of_message_untrusted(IdentifyMessage(observed_addr=relayed), ALICE).observed_addr
        is None
    )
