"""How a dial that failed reads: p2pnode/io/node/dial_failure.py."""

import pytest

from p2pnode.errors import NO_ANSWER
from p2pnode.io.node.dial_failure import NOBODY_ASKED, dial_failure_text
from p2pnode.protocols.kad import Lookup
from tests.shell.fake_streams import fake_peer_id

HINT = "is the peer running there, and does UDP get through?"
A, B = "/ip4/192.0.2.1/udp/1/noise", "/ip6/2001:db8::1/udp/1/noise"
C = "/ip4/192.0.2.1/tcp/1"
SEARCH = "/p2p/12D3peer"
THROUGH_A = f"{A}/p2p/12D3relay/p2p-circuit/p2p/12D3peer"
THROUGH_B = f"{B}/p2p/12D3other/p2p-circuit/p2p/12D3peer"
SEARCH_HINT = "is it running, and connected with a peer that this node knows?"


@pytest.mark.parametrize(
    ("target", "attempts", "rest"),
    [
        (A, [(A, NO_ANSWER)], f"{NO_ANSWER}; {HINT}"),
        ("12D3peer", [(A, NO_ANSWER)], f"{NO_ANSWER} from {A}; {HINT}"),
        (C, [(C, NO_ANSWER)], f"{NO_ANSWER}; {HINT.replace('UDP', 'TCP')}"),
        (
            "12D3peer",
            [(A, NO_ANSWER), (C, NO_ANSWER), (B, NO_ANSWER)],
            f"{NO_ANSWER} from {A}; {NO_ANSWER} from {C}; {NO_ANSWER} from {B}; "
            f"{HINT.replace('does UDP', 'do UDP or TCP')}",
        ),
        (
            "12D3peer",
            [(A, NO_ANSWER), (B, NO_ANSWER)],
            f"{NO_ANSWER} from {A}; {NO_ANSWER} from {B}; {HINT}",
        ),
        ("12D3peer", [(A, NO_ANSWER), (B, "why")], f"{NO_ANSWER} from {A}; why (at {B})"),
        (A, [(A, "why")], "why"),
        (A, [], "there was no address to try"),
        (
            "12D3peer",
            [
                (THROUGH_A, "NO_RESERVATION"),
                (THROUGH_B, "PERMISSION_DENIED"),
                (SEARCH, "none of the 2 peers knows it"),
            ],
            f"no peer told where it is: none of the 2 peers knows it; {SEARCH_HINT}",
        ),
        ("12D3peer", [(A, NO_ANSWER), (SEARCH, NOBODY_ASKED)], f"{NO_ANSWER} from {A}; {HINT}"),
        (
            "12D3peer",
            [(SEARCH, NOBODY_ASKED)],
            f"no peer told where it is: {NOBODY_ASKED}; {SEARCH_HINT}",
        ),
        (
            "12D3peer",
            [(A, NO_ANSWER), (THROUGH_A, "NO_RESERVATION"), (THROUGH_B, "NO_RESERVATION")],
            f"{NO_ANSWER} from {A}; the peer holds no reservation (through the relays at {A} and "
            f"{B})",
        ),
        (
            THROUGH_A,
            [(THROUGH_A, "the relay cannot be reached: no answer")],
            f"the relay cannot be reached: no answer (through the relay at {A})",
        ),
    ],
)
def test_a_dial_that_failed_is_one_sentence_that_says_what_to_do(
    target: str, attempts: list[tuple[str, str]], rest: str
) -> None:
    assert dial_failure_text(target, tuple(attempts)) == f"cannot reach {target}: {rest}"


def test_a_search_that_could_not_begin_is_known_by_its_words() -> None:
    assert Lookup(fake_peer_id(1), 0.0).reason == NOBODY_ASKED
