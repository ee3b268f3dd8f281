"""The keys of libp2p's peer-ids.md, and the ids that follow from them."""

import pytest

from p2pnode.identity.keys import decode_private_key
from p2pnode.identity.peer_id import PeerId, parse_peer_id
from p2pnode.identity.public_key import KeyType, decode_public_key_untrusted

ED25519_PRIVATE = (
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
    "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
)
ED25519_PUBLIC = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
SECP256K1_PUBLIC = "08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99"


def test_the_private_key_gives_the_public_key_and_comes_back_the_same() -> None:
    key = decode_private_key(bytes.fromhex(ED25519_PRIVATE))

    assert key.public_key.encode().hex() == ED25519_PUBLIC
    assert key.encode_private_key().hex() == ED25519_PRIVATE


@pytest.mark.spec("IDENTITY-5")
@pytest.mark.parametrize(
    ("public", "key_type", "peer_id"),
    [
        (ED25519_PUBLIC, KeyType.ED25519, "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"),
        (
            SECP256K1_PUBLIC,
            KeyType.SECP256K1,
            "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY",
        ),
    ],
)
def test_public_keys_have_their_ids(public: str, key_type: KeyType, peer_id: str) -> None:
    key = decode_public_key_untrusted(bytes.fromhex(public))

    assert key.key_type is key_type
    assert str(PeerId.from_public_key(key)) == peer_id
    assert parse_peer_id(peer_id).public_key() == key


@pytest.mark.spec("IDENTITY-6")
def test_the_examples_of_the_text_forms_are_the_same_peer() -> None:
    as_base58 = "12D3KooWD3eckifWpRn9wQpMG9papRXwE2F1dbivbMe4CriodYKU"
    as_cid = "bafzaajaiaejcal72gwuz2or47oyxxn6b3tkwdmmkrxgkjxzy3rqt5kczyn7lcm3l"

    assert str(parse_peer_id(as_cid)) == as_base58
    assert parse_peer_id(as_base58).to_cid() == as_cid
