"""Why a connection is relayed: every pair of NATs, and everything that may be unknown."""

from itertools import product

import pytest

from p2pnode.protocols.nat_behaviour import UNKNOWN_FACTS, Dependence, NatFacts, why
from p2pnode.protocols.nat_behaviour.udp_silence import Silence
from p2pnode.protocols.nat_behaviour.why import (
    Explanation,
    PunchAttempt,
    PunchAttempts,
    explain,
    punches_plainly,
)
from tests.support.identities import peer_id

PEER = peer_id("peer")
NAMES = {
    "EI": Dependence.ENDPOINT_INDEPENDENT,
    "AD": Dependence.ADDRESS_DEPENDENT,
    "APD": Dependence.ADDRESS_AND_PORT_DEPENDENT,
}
KINDS = [(m, f) for m in NAMES for f in NAMES]
ORACLE = """
           EI/EI EI/AD EI/APD AD/EI AD/AD AD/APD APD/EI APD/AD APD/APD
EI/EI        Y     Y     Y      Y     Y     Y      Y      Y      Y
EI/AD        Y     Y     Y      Y     Y     Y      Y      Y      Y
EI/APD       Y     Y     Y      .     .     .      .      .      .
AD/EI        Y     Y     .      Y     Y     .      Y      Y      .
AD/AD        Y     Y     .      Y     Y     .      Y      Y      .
AD/APD       Y     Y     .      .     .     .      .      .      .
APD/EI       Y     Y     .      Y     Y     .      Y      Y      .
APD/AD       Y     Y     .      Y     Y     .      Y      Y      .
APD/APD      Y     Y     .      .     .     .      .      .      .
"""
"""Which pairs punch plainly: the published table, mapping/filtering, ours down, theirs across."""
FAILED = PunchAttempt(5.0, 1, "plain", False, "no answer to any probe")


def facts(mapping: str, filtering: str, **others: object) -> NatFacts:
    return NatFacts(NAMES[mapping], NAMES[filtering], observers=3, **others)  # type: ignore[arg-type]


def oracle() -> dict[tuple[str, str], bool]:
    header, *rows = ORACLE.strip().splitlines()
    columns = header.split()
    return {
        (ours, theirs): mark == "Y"
        for ours, *marks in (row.split() for row in rows)
        for theirs, mark in zip(columns, marks, strict=True)
    }


def relayed(
    ours: NatFacts, theirs: NatFacts | None, attempts: tuple[PunchAttempt, ...] = (FAILED,)
) -> Explanation:
    return explain(peer_id=PEER, path="relayed", ours=ours, theirs=theirs, attempts=attempts)


@pytest.mark.spec("NATB-18")
def test_all_81_pairs_agree_with_the_oracle() -> None:
    for (ours, theirs), works in oracle().items():
        a, b = facts(*ours.split("/")), facts(*theirs.split("/"))

        assert punches_plainly(a, b) is works, (ours, theirs)
        assert ("cannot work" in relayed(a, b).verdict) is not works, (ours, theirs)
    assert sum(oracle().values()) == 49


@pytest.mark.spec("NATB-19")
@pytest.mark.parametrize(("ours", "theirs"), list(product(KINDS, KINDS)))
def test_the_side_is_the_one_whose_mapping_would_have_to_change(
    ours: tuple[str, str], theirs: tuple[str, str]
) -> None:
    """Mends one side's mapping, and looks whether the oracle then says that it works."""
    table = oracle()

    def works(a: tuple[str, str], b: tuple[str, str]) -> bool:
        return table["/".join(a), "/".join(b)]

    explanation = relayed(facts(*ours), facts(*theirs))

    if works(ours, theirs):
        assert explanation.side in (None, "both")
        assert "cannot work" not in explanation.verdict
    elif works(("EI", ours[1]), theirs):
        assert explanation.side == "ours"
        assert explanation.property == f"{NAMES[ours[0]].value} mapping"
    elif works(ours, ("EI", theirs[1])):
        assert explanation.side == "theirs"
        assert explanation.property == f"{NAMES[theirs[0]].value} mapping"
    else:
        assert explanation.side == "both"
        assert NAMES[ours[0]].value in str(explanation.property)
        assert NAMES[theirs[0]].value in str(explanation.property)


@pytest.mark.spec("NATB-19")
def test_two_symmetric_nats_are_both_the_cause() -> None:
    explanation = relayed(facts("APD", "APD"), facts("APD", "APD"))

    assert explanation.side == "both"
    assert explanation.property == "address-and-port-dependent mapping"


@pytest.mark.spec("NATB-18")
def test_no_nat_and_no_filter_never_stand_in_the_way() -> None:
    free = NatFacts(Dependence.NONE, Dependence.NONE, observers=3)

    for kind in KINDS:
        assert punches_plainly(free, facts(*kind)) is True
        assert punches_plainly(facts(*kind), free) is True


@pytest.mark.spec("NATB-18")
def test_a_mapping_that_depends_on_something_is_enough_to_know() -> None:
    some = NatFacts(Dependence.ENDPOINT_DEPENDENT, Dependence.UNKNOWN, observers=3)

    assert punches_plainly(some, facts("EI", "APD")) is False
    assert punches_plainly(some, facts("EI", "AD")) is True
    assert relayed(some, facts("EI", "APD")).side == "ours"


@pytest.mark.spec("NATB-20")
def test_what_is_unknown_decides_only_where_it_matters() -> None:
    blank = NatFacts(Dependence.UNKNOWN, Dependence.UNKNOWN)

    assert punches_plainly(blank, facts("EI", "EI")) is True
    assert punches_plainly(blank, facts("EI", "APD")) is None
    assert punches_plainly(facts("AD", "EI"), blank) is None


@pytest.mark.spec("NATB-20")
def test_missing_evidence_is_said_with_what_it_takes() -> None:
    one_peer = NatFacts(Dependence.UNKNOWN, Dependence.ADDRESS_DEPENDENT, observers=1)

    verdict = relayed(one_peer, facts("EI", "APD")).verdict

    assert verdict == (
        "relayed: the cause is not known: our NAT's mapping is unknown"
        " (one peer cannot tell it: connect to three peers on two IPs)"
    )


@pytest.mark.spec("NATB-20")
def test_a_peer_that_has_not_told_is_not_guessed_about() -> None:
    explanation = relayed(facts("APD", "APD"), None)

    assert explanation.verdict.startswith("relayed: the cause is not known: the peer has not told")
    assert (explanation.side, explanation.property) == (None, None)
    assert "our NAT's mapping and filtering is unknown" in relayed(UNKNOWN_FACTS, None).verdict


@pytest.mark.spec("NATB-20")
def test_what_the_peer_does_not_know_is_for_its_side_to_find_out() -> None:
    theirs = NatFacts(Dependence.UNKNOWN, Dependence.UNKNOWN)

    verdict = relayed(facts("APD", "APD"), theirs).verdict

    assert "the peer's NAT's mapping and filtering is unknown" in verdict
    assert "connect, on its side, to three peers on two IPs" in verdict


@pytest.mark.spec("NATB-19")
def test_udp_that_is_blocked_at_the_peer_comes_before_what_its_nat_does() -> None:
    explanation = relayed(facts("APD", "APD"), facts("APD", "APD", is_udp_blocked=True))

    assert (explanation.side, explanation.property) == ("theirs", why.UDP_BLOCKED)


@pytest.mark.spec("NATB-19", "NATB-22")
@pytest.mark.parametrize(("hosts", "side"), [(1, None), (2, "ours")])
def test_silence_comes_before_everything_else(hosts: int, side: str | None) -> None:
    explanation = explain(
        peer_id=PEER,
        path=None,
        ours=facts("APD", "APD"),
        theirs=facts("APD", "APD", is_udp_blocked=True),
        attempts=(FAILED,),
        silence=Silence(hosts),
    )

    assert (explanation.side, explanation.property) == (side, why.UDP_SILENT)
    assert explanation.verdict.startswith("not connected: nothing is heard over UDP: ")


@pytest.mark.spec("NATB-19", "NATB-23")
@pytest.mark.parametrize(("over_tcp", "side"), [(1, None), (2, "ours")])
def test_where_tcp_reaches_who_is_silent_it_is_said_what_carries_everything(
    over_tcp: int, side: str | None
) -> None:
    def explained(path: why.Path) -> why.Explanation:
        return explain(
            peer_id=PEER,
            path=path,
            ours=facts("APD", "APD"),
            theirs=facts("APD", "APD"),
            attempts=(FAILED,),
            silence=Silence(3, over_tcp),
        )

    relayed, direct = explained("relayed"), explained("direct")
    assert (relayed.side, relayed.property) == (side, why.UDP_BLOCKED)
    assert relayed.verdict.startswith("relayed: UDP seems to be blocked: ")
    assert direct.verdict.startswith("direct over TCP: UDP seems to be blocked: ")
    assert (direct.side, direct.property) == (None, None)


@pytest.mark.spec("NATB-18")
def test_what_should_work_and_failed_is_told_with_the_last_reason() -> None:
    explanation = relayed(facts("EI", "APD"), facts("EI", "APD"))

    assert explanation.verdict == (
        "relayed: hole punching should work between these NATs, but one round failed,"
        " the last one because no answer to any probe"
    )
    assert explanation.side is None


def test_what_was_not_tried_yet_is_no_failure() -> None:
    verdict = relayed(facts("EI", "APD"), facts("EI", "AD"), ()).verdict

    assert "has not been tried yet" in verdict


@pytest.mark.spec("NATB-18")
def test_the_four_pairs_that_depend_on_the_filters_scope_say_so_once_they_failed() -> None:
    for ours, theirs in product(("AD", "APD"), ("AD", "APD")):
        a, b = facts(ours, "AD"), facts(theirs, "AD")

        assert "for each inside endpoint" in relayed(a, b).verdict
        assert relayed(a, b).side == "both"
        assert relayed(a, b, ()).side is None


@pytest.mark.spec("NATB-21")
def test_a_direct_path_says_how_and_since_when() -> None:
    punched = PunchAttempt(10.0, 2, "swapped", True, "")

    explanation = explain(
        peer_id=PEER,
        path="direct",
        ours=UNKNOWN_FACTS,
        theirs=None,
        attempts=(FAILED, punched),
        now=22.0,
    )

    assert explanation.verdict == ("direct: hole punching succeeded 12 s ago in round 2 (swapped)")
    assert explanation.side is None
    assert explanation.attempts == (FAILED, punched)


@pytest.mark.spec("NATB-21")
def test_a_direct_path_without_punching_was_dialled() -> None:
    explanation = explain(peer_id=PEER, path="direct", ours=UNKNOWN_FACTS, theirs=None, attempts=())

    assert explanation.verdict == "direct: one side could be dialled, no hole had to be punched"


def test_a_peer_that_is_not_connected_is_explained_too() -> None:
    explanation = explain(
        peer_id=PEER, path=None, ours=facts("APD", "APD"), theirs=facts("EI", "APD"), attempts=()
    )

    assert explanation.verdict.startswith("not connected: our NAT gives every endpoint")


def test_attempts_are_kept_by_peer_and_bounded() -> None:
    attempts = PunchAttempts()
    for n in range(why.MAX_ATTEMPTS + 3):
        attempts.add(PEER, FAILED._replace(round=n))
    for n in range(why.MAX_PEERS):
        attempts.add(peer_id(f"other{n}"), FAILED)

    assert attempts.of(PEER) == ()
    attempts.add(PEER, FAILED)
    assert attempts.of(PEER) == (FAILED,)
    last = peer_id(f"other{why.MAX_PEERS - 1}")
    for n in range(why.MAX_ATTEMPTS + 3):
        attempts.add(last, FAILED._replace(round=n))
    assert [a.round for a in attempts.of(last)] == list(range(3, why.MAX_ATTEMPTS + 3))
