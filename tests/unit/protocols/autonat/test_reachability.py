"""What evidence amounts to."""

import itertools

import pytest

from p2pnode.protocols.autonat.delegated_asker import HelperResult, ProbeResult
from p2pnode.protocols.autonat.outcomes import Doubt, Inconclusive, NotReached, Prober, Reached
from p2pnode.protocols.autonat.reachability import (
    EVIDENCE_LIFETIME,
    EVIDENCE_WINDOW,
    AddressEvidence,
    Evidence,
    Reachability,
    Verdict,
    evidence_of_helpers,
    evidence_of_outcome,
)
from tests.support.autonat import SAME_IP

PUBLIC, PRIVATE, UNKNOWN = Reachability.PUBLIC, Reachability.PRIVATE, Reachability.UNKNOWN


def stranger(at: float, is_heard: bool, witness: str, server: str = "s1") -> Evidence:
    return Evidence(at, is_heard, Prober.STRANGER, witness, server, "")


def friend(at: float, is_heard: bool, witness: str) -> Evidence:
    return Evidence(at, is_heard, Prober.ACQUAINTANCE, witness, witness, "")


def verdict(*pieces: Evidence, now: float = 100.0, suffice: bool = False) -> Verdict:
    fold = AddressEvidence(acquaintances_suffice=suffice)
    for piece in pieces:
        fold.add(piece)
    return fold.verdict(now)


def test_without_evidence_it_is_unknown() -> None:
    found = verdict()

    assert (found.reachability, found.confidence, found.expires_at) == (UNKNOWN, 0, None)
    assert "nobody" in found.why


@pytest.mark.spec("AUTONAT-25")
@pytest.mark.spec("AUTONAT-26")
def test_one_strangers_packet_makes_it_public_and_more_make_it_surer() -> None:
    for count in (1, 2, 3, 4):
        pieces = [stranger(float(n), True, f"w{n}") for n in range(count)]
        found = verdict(*pieces)

        assert found.reachability is PUBLIC
        assert found.confidence == min(count, 3)
        assert found.evidence == tuple(pieces)
        assert found.expires_at == count - 1 + EVIDENCE_LIFETIME
        assert "arrived" in found.why


@pytest.mark.spec("AUTONAT-26")
def test_acquaintances_that_get_in_leave_it_unknown_unless_they_suffice() -> None:
    pieces = [friend(1.0, True, f"w{n}") for n in range(5)]
    found = verdict(*pieces)

    assert found.reachability is UNKNOWN
    assert "no stranger" in found.why
    assert verdict(*pieces, suffice=True).reachability is PUBLIC


@pytest.mark.spec("AUTONAT-27")
def test_an_address_restricted_filter_is_private_although_acquaintances_get_in() -> None:
    found = verdict(friend(1.0, True, "w1"), stranger(2.0, False, "w2"), stranger(3.0, False, "w3"))

    assert (found.reachability, found.confidence) == (PRIVATE, 2)


@pytest.mark.spec("AUTONAT-27")
@pytest.mark.parametrize("make", [stranger, friend])
def test_silence_needs_two_witnesses_in_different_networks(make) -> None:
    assert verdict(make(1.0, False, "w1")).reachability is UNKNOWN
    assert verdict(make(1.0, False, "w1"), make(2.0, False, "w1")).reachability is UNKNOWN
    found = verdict(make(1.0, False, "w1"), make(2.0, False, "w2"))
    assert (found.reachability, found.confidence) == (PRIVATE, 2)


@pytest.mark.spec("AUTONAT-26")
def test_one_lost_probe_does_not_unmake_a_public_address() -> None:
    found = verdict(
        stranger(1.0, True, "w1"), stranger(2.0, True, "w2"), stranger(3.0, False, "w3")
    )

    assert (found.reachability, found.confidence) == (PUBLIC, 1)
    assert "not heard" in found.why


@pytest.mark.spec("AUTONAT-27")
def test_a_port_that_was_closed_is_private_once_two_say_so() -> None:
    opened = [stranger(float(n), True, f"w{n}") for n in range(3)]
    closed = [stranger(50.0, False, "w7"), stranger(51.0, False, "w8")]

    assert verdict(*opened, *closed).reachability is PRIVATE
    assert verdict(*closed, *opened).reachability is PUBLIC


@pytest.mark.spec("AUTONAT-28")
def test_one_other_server_alone_overturns_no_proof() -> None:
    proof = stranger(1.0, True, "w1", "s1")
    lies = [stranger(float(n), False, f"l{n}", "liar") for n in range(2, 6)]

    assert verdict(proof, *lies).reachability is UNKNOWN
    assert verdict(proof, *lies, stranger(9.0, False, "w2", "s2")).reachability is PRIVATE
    assert verdict(proof, *lies, stranger(9.0, True, "w2", "s2")).reachability is PUBLIC


@pytest.mark.spec("AUTONAT-29")
def test_a_witness_has_one_word_the_newest() -> None:
    found = verdict(
        stranger(1.0, False, "w1"), stranger(2.0, False, "w2"), stranger(3.0, True, "w1")
    )

    assert found.reachability is PUBLIC
    assert len(found.evidence) == 2


@pytest.mark.spec("AUTONAT-29")
def test_old_and_excess_evidence_is_forgotten() -> None:
    pieces = [stranger(float(n), True, f"w{n}") for n in range(9)]
    assert verdict(*pieces).evidence == tuple(pieces[-EVIDENCE_WINDOW:])

    found = verdict(stranger(0.0, True, "w1"), now=EVIDENCE_LIFETIME)
    assert (found.reachability, found.evidence) == (UNKNOWN, ())


@pytest.mark.spec("AUTONAT-25")
def test_every_verdict_says_why() -> None:
    kinds = [stranger(1.0, True, "w1"), stranger(1.0, False, "w2"), friend(1.0, True, "w3")]
    kinds += [friend(1.0, False, "w4"), stranger(1.0, False, "w5", "s2")]
    for size in range(6):
        for pieces in itertools.permutations(kinds, size):
            found = verdict(*pieces)
            assert found.why
            assert (found.confidence > 0) is (found.reachability is not UNKNOWN)
            assert (found.expires_at is None) is (found.reachability is UNKNOWN)


def test_outcomes_become_evidence_of_the_network_that_knocked() -> None:
    reached = evidence_of_outcome(
        Reached(SAME_IP, Prober.STRANGER), server_ip="8.8.8.8", prober_ip="2a00::1", now=1.0
    )
    failed = evidence_of_outcome(
        NotReached(SAME_IP, Prober.ACQUAINTANCE, "why"),
        server_ip="8.8.8.8",
        prober_ip=None,
        now=1.0,
    )
    nothing = evidence_of_outcome(
        Inconclusive(Doubt.REFUSED, ""), server_ip="8.8.8.8", prober_ip=None, now=1.0
    )

    assert reached is not None
    assert (reached.is_heard, reached.witness, reached.server) == (True, "2a00::/56", "8.8.8.8")
    assert failed is not None
    assert (failed.is_heard, failed.witness, failed.detail) == (False, "8.8.8.8", "why")
    assert nothing is None


@pytest.mark.spec("AUTONAT-19")
def test_of_helpers_only_arrival_and_silence_are_evidence() -> None:
    results = [HelperResult(f"7.0.0.{n}", result) for n, result in enumerate(ProbeResult)]
    pieces = evidence_of_helpers(results, server_ip="8.8.8.8", now=1.0)

    assert [(piece.witness, piece.is_heard) for piece in pieces] == [
        ("7.0.0.0", True),
        ("7.0.0.1", False),
    ]
