"""Peer ids: text forms, order, and the key inside."""

import base58
import pytest

from p2pnode.errors import AddressError, DecodeError
from p2pnode.identity.peer_id import PeerId, parse_peer_id
from tests.support.identities import peer_id, private_key

HASHED = PeerId(b"\x12\x20" + bytes(range(32)))


def multibase(identity: PeerId) -> list[str]:
    cid = b"\x01\x72" + identity.multihash
    number, base36 = int.from_bytes(cid, "big"), ""
    while number:
        number, digit = divmod(number, 36)
        base36 = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + base36
    return [
        identity.to_cid(),
        identity.to_cid().upper(),
        "k" + base36,
        "K" + base36.upper(),
        "z" + base58.b58encode(cid).decode(),
        "f" + cid.hex(),
        "F" + cid.hex().upper(),
    ]


@pytest.mark.spec("IDENTITY-5")
@pytest.mark.spec("IDENTITY-6")
@pytest.mark.parametrize("identity", [peer_id("a"), HASHED])
def test_all_text_forms_are_read_and_base58_is_printed(identity: PeerId) -> None:
    printed = str(identity)

    assert printed.startswith(("12D3KooW", "Qm"))
    assert [parse_peer_id(text) for text in [printed, *multibase(identity)]] == [identity] * 8
    assert PeerId.parse(printed) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "Qm",
        "12D3KooWinvalid0OIl",
        "Qm" + "1" * 44,
        str(peer_id("a"))[:-1],
        "z" + base58.b58encode(b"\x01\x70" + HASHED.multihash).decode(),
        "b" + HASHED.to_cid()[1:-1] + "A",
        HASHED.to_cid() + "aaaaaaaa",
        "k-12",
        "k\u0661\u0662",
        "fabc",
        "m" + HASHED.to_cid(),
        "1" * 5000,
        "/p2p/" + str(HASHED),
    ],
)
def test_anything_else_is_an_address_error(text: str) -> None:
    with pytest.raises(AddressError):
        parse_peer_id(text)


@pytest.mark.spec("IDENTITY-7")
def test_bytes_that_are_no_id_are_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        PeerId.decode_untrusted(b"\x12\x20short")


@pytest.mark.spec("IDENTITY-8")
def test_an_id_gives_its_key_back_where_it_holds_one() -> None:
    key = private_key("a").public_key

    assert PeerId.from_public_key(key).public_key() == key
    assert PeerId.from_public_key(key).matches(key)
    assert not peer_id("b").matches(key)
    assert HASHED.public_key() is None
    assert PeerId(b"\x00\x03abc").public_key() is None


def test_ids_sort_by_bytes_hash_and_cannot_be_changed() -> None:
    ids = [peer_id(name) for name in range(5)]

    assert sorted(ids) == sorted(ids, key=PeerId.to_bytes)
    assert len(set(ids + [PeerId(i.to_bytes()) for i in ids])) == 5
    with pytest.raises(AttributeError):
        setattr(ids[0], "multihash", b"")  # noqa: B010 - the point is that it fails


def test_the_repr_and_the_short_form_show_the_printed_id() -> None:
    assert repr(HASHED) == f"PeerId('{HASHED}')"
    assert HASHED.short() == "…" + str(HASHED)[-8:]
