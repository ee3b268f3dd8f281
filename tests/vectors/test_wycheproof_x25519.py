"""Wycheproof's X25519 cases against the function that Noise calls."""

import pytest

from p2pnode.errors import HandshakeError
from p2pnode.noise.primitives import x25519
from tests.vectors import published_files

FILE = "wycheproof_x25519.json"
CASES = [case for group in published_files.load(FILE)["testGroups"] for case in group["tests"]]


def outcome(case: dict) -> str:
    try:
        return x25519(bytes.fromhex(case["private"]), bytes.fromhex(case["public"])).hex()
    except HandshakeError:
        return "refused"


@pytest.mark.spec("NOISE-3")
def test_a_shared_secret_of_zeros_is_refused_and_no_other() -> None:
    refused = [case["tcId"] for case in CASES if outcome(case) == "refused"]
    zero = [case["tcId"] for case in CASES if "ZeroSharedSecret" in case["flags"]]

    assert refused == zero
    assert len(zero) == 31


def test_every_other_case_gives_its_shared_secret() -> None:
    """Keys on the twist and non-canonical ones are "acceptable": RFC 7748 computes with them."""
    wrong = [case["tcId"] for case in CASES if outcome(case) not in (case["shared"], "refused")]

    assert wrong == []
    assert len(CASES) == 518
