"""How a dial that failed reads: p2pnode/io/dials.py."""

import pytest

from p2pnode.io.dials import NO_ANSWER, dial_failure_text

HINT = "is the peer running there, and does UDP get through?"
A, B = "/ip4/192.0.2.1/udp/1/noise", "/ip6/2001:db8::1/udp/1/noise"


@pytest.mark.parametrize(
    ("target", "attempts", "rest"),
    [
        (A, [(A, NO_ANSWER)], f"{NO_ANSWER}; {HINT}"),
        ("12D3peer", [(A, NO_ANSWER)], f"{NO_ANSWER} from {A}; {HINT}"),
        (
            "12D3peer",
            [(A, NO_ANSWER), (B, NO_ANSWER)],
            f"{NO_ANSWER} from {A}; {NO_ANSWER} from {B}; {HINT}",
        ),
        ("12D3peer", [(A, NO_ANSWER), (B, "why")], f"{NO_ANSWER} from {A}; why (at {B})"),
        (A, [(A, "why")], "why"),
        (A, [], "there was no address to try"),
    ],
)
def test_a_dial_that_failed_is_one_sentence_that_says_what_to_do(
    target: str, attempts: list[tuple[str, str]], rest: str
) -> None:
    assert dial_failure_text(target, tuple(attempts)) == f"cannot reach {target}: {rest}"
