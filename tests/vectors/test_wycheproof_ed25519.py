"""Wycheproof's Ed25519 cases against the verification that signatures of peers go through."""

import pytest

from p2pnode.identity.public_key import KeyType, PublicKey
from tests.vectors import published_files

FILE = "wycheproof_ed25519.json"
GROUPS = published_files.load(FILE)["testGroups"]


@pytest.mark.spec("NOISE-11")
def test_valid_signatures_are_accepted_and_invalid_ones_are_not() -> None:
    wrong, seen = [], 0
    for group in GROUPS:
        key = PublicKey(KeyType.ED25519, bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            seen += 1
            valid = key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            if valid != (case["result"] == "valid"):
                wrong.append(case["tcId"])

    assert wrong == []
    assert seen == 151
