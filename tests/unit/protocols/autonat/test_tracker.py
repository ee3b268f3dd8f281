"""When to probe what, and what to advertise."""

import pytest

from p2pnode.protocols.autonat.outcomes import Doubt, Prober
from p2pnode.protocols.autonat.reachability import EVIDENCE_LIFETIME, Evidence, Reachability
from p2pnode.protocols.autonat.tracker import MAX_DUE, MAX_TRACKED, AddressTracker
from tests.support.autonat import OTHER_IP, PRIVATE_IP, SAME_IP, addr

IPV6 = addr("/ip6/2400::1/udp/4001/noise")


def heard(at: float, *witnesses: str) -> list[Evidence]:
    return [Evidence(at, True, Prober.STRANGER, each, "s", "") for each in witnesses]


def silent(at: float, *witnesses: str) -> list[Evidence]:
    return [Evidence(at, False, Prober.STRANGER, each, "s", "") for each in witnesses]


def tracker(*addrs) -> AddressTracker:
    made = AddressTracker()
    made.track(addrs or (SAME_IP,), 0.0)
    return made


def next_at(made: AddressTracker, now: float) -> float:
    deadline = made.poll_timeout(now)
    assert deadline is not None
    return deadline.at


@pytest.mark.spec("AUTONAT-31")
def test_a_new_candidate_is_due_at_once_and_once() -> None:
    made = tracker(SAME_IP, OTHER_IP)
    assert made.due(0.0) == (SAME_IP, OTHER_IP)
    made.on_probe_started(SAME_IP, 0.0)

    assert made.due(0.0) == (OTHER_IP,)
    assert made.due(30.0) == (SAME_IP, OTHER_IP)


@pytest.mark.spec("AUTONAT-31")
def test_a_settled_verdict_is_probed_again_at_leisure_a_weak_one_soon() -> None:
    made = tracker()
    made.on_probe_started(SAME_IP, 0.0)
    made.on_evidence(SAME_IP, heard(0.0, "w1"), 0.0)
    assert next_at(made, 0.0) == 60.0
    made.on_evidence(SAME_IP, heard(60.0, "w2"), 60.0)
    assert next_at(made, 60.0) == 60.0 + 900.0


@pytest.mark.spec("AUTONAT-31")
def test_an_unsettled_one_is_probed_ever_more_rarely() -> None:
    made, now, pauses = tracker(), 0.0, []
    for _ in range(9):
        assert made.due(now) == (SAME_IP,)
        made.on_probe_started(SAME_IP, now)
        made.on_inconclusive(SAME_IP, Doubt.FAILED, now)
        pauses.append(next_at(made, now) - now)
        now += pauses[-1]

    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]


@pytest.mark.spec("AUTONAT-32")
def test_refusals_pause_an_address() -> None:
    made, now = tracker(), 0.0
    for _ in range(5):
        made.on_inconclusive(SAME_IP, Doubt.REFUSED, now)

    assert next_at(made, now) == 600.0


@pytest.mark.spec("AUTONAT-32")
def test_an_address_is_probed_so_often_in_ten_minutes_and_no_more() -> None:
    made, started = tracker(), []
    for second in range(1300):
        now = float(second)
        made.on_network_changed(now)  # whatever happens
        for address in made.due(now):
            made.on_probe_started(address, now)
            started.append(now)

    assert started == [
        *map(float, range(10)),
        *map(float, range(600, 610)),
        *map(float, range(1200, 1210)),
    ]


@pytest.mark.spec("AUTONAT-30")
def test_only_public_addresses_are_advertised_and_only_while_they_are() -> None:
    made = tracker(SAME_IP, OTHER_IP, PRIVATE_IP)
    made.on_evidence(OTHER_IP, heard(0.0, "w1", "w2"), 0.0)
    made.on_evidence(PRIVATE_IP, silent(0.0, "w1", "w2"), 0.0)
    assert made.confirmed(1.0) == (OTHER_IP,)
    assert [v.reachability.value for _, v in made.verdicts(1.0)] == ["unknown", "public", "private"]
    assert made.verdict(addr("/ip4/8.8.8.8/udp/1/noise"), 1.0) is None

    assert made.confirmed(EVIDENCE_LIFETIME) == ()


@pytest.mark.spec("AUTONAT-30")
def test_the_node_is_public_by_one_address_and_private_by_one_of_each_ip_version() -> None:
    made = tracker(SAME_IP, OTHER_IP, IPV6)
    assert AddressTracker().overall(0.0) is Reachability.UNKNOWN
    assert made.overall(0.0) is Reachability.UNKNOWN
    made.on_evidence(SAME_IP, silent(0.0, "w1", "w2"), 0.0)
    assert made.overall(0.0) is Reachability.UNKNOWN
    made.on_evidence(IPV6, silent(0.0, "w1", "w2"), 0.0)
    assert made.overall(0.0) is Reachability.PRIVATE
    made.on_evidence(OTHER_IP, heard(1.0, "w3"), 1.0)
    assert made.overall(1.0) is Reachability.PUBLIC


@pytest.mark.spec("AUTONAT-30")
def test_addresses_that_nobody_has_tried_yet_do_not_unsettle_a_private_node() -> None:
    made = tracker(SAME_IP)
    made.on_evidence(SAME_IP, silent(0.0, "w1", "w2"), 0.0)
    made.track([OTHER_IP, SAME_IP], 1.0)

    assert made.overall(1.0) is Reachability.PRIVATE


@pytest.mark.spec("AUTONAT-31")
def test_more_evidence_that_may_follow_is_waited_for() -> None:
    made = tracker()
    made.on_probe_started(SAME_IP, 0.0)
    made.on_evidence(SAME_IP, silent(0.0, "w1"), 1.0, is_last=False)
    assert next_at(made, 1.0) == 30.0
    made.on_inconclusive(SAME_IP, Doubt.FAILED, 2.0)
    assert next_at(made, 2.0) == 7.0


@pytest.mark.spec("AUTONAT-31")
def test_what_is_unknown_is_due_when_somebody_new_can_be_asked() -> None:
    made = tracker(SAME_IP, OTHER_IP)
    made.on_evidence(SAME_IP, silent(0.0, "w1"), 0.0)
    made.on_evidence(OTHER_IP, heard(0.0, "w1"), 0.0)
    assert made.due(1.0) == ()
    made.hurry(1.0)

    assert made.due(1.0) == (SAME_IP,)


@pytest.mark.spec("AUTONAT-32")
def test_the_limit_of_probes_holds_for_hurries_too() -> None:
    made = tracker()
    for _ in range(10):
        assert made.may_probe(SAME_IP, 1.0)
        made.on_probe_started(SAME_IP, 1.0)
    made.hurry(2.0)

    assert not made.may_probe(SAME_IP, 600.0)
    assert made.due(600.0) == ()
    assert made.may_probe(SAME_IP, 601.0)
    assert not made.may_probe(OTHER_IP, 601.0)


@pytest.mark.spec("AUTONAT-31")
def test_a_change_of_network_voids_the_evidence_and_probes_at_once() -> None:
    made = tracker()
    made.on_evidence(SAME_IP, heard(0.0, "w1", "w2"), 0.0)
    assert made.due(1.0) == ()
    made.on_network_changed(1.0)

    assert made.overall(1.0) is Reachability.UNKNOWN
    assert made.due(1.0) == (SAME_IP,)


def test_what_is_no_candidate_any_more_is_forgotten_and_the_rest_kept() -> None:
    made = tracker(SAME_IP, OTHER_IP)
    made.on_evidence(SAME_IP, heard(0.0, "w1"), 0.0)
    made.track([SAME_IP], 1.0)
    made.on_evidence(OTHER_IP, heard(1.0, "w1"), 1.0)
    made.on_probe_started(OTHER_IP, 1.0)
    made.on_inconclusive(OTHER_IP, Doubt.FAILED, 1.0)

    assert made.confirmed(1.0) == (SAME_IP,)
    assert [address for address, _ in made.verdicts(1.0)] == [SAME_IP]


def test_candidates_and_probes_at_once_are_bounded() -> None:
    made = AddressTracker()
    assert made.poll_timeout(0.0) is None
    made.track([addr(f"/ip4/1.2.3.4/udp/{port}/noise") for port in range(1, 99)], 0.0)

    assert len(made.verdicts(0.0)) == MAX_TRACKED
    assert len(made.due(0.0)) == MAX_DUE


def test_an_expiring_verdict_is_a_deadline() -> None:
    made = tracker()
    made.on_evidence(SAME_IP, heard(0.0, "w1", "w2"), EVIDENCE_LIFETIME - 1.0)

    assert made.poll_timeout(EVIDENCE_LIFETIME - 1.0) == (
        EVIDENCE_LIFETIME,
        "AutoNAT verdict expires",
    )


@pytest.mark.spec("AUTONAT-41")
def test_evidence_of_an_earlier_run_counts_until_there_is_fresh() -> None:
    made = AddressTracker()
    for piece in heard(-60.0, "20.0.0.1"):
        made.remember(SAME_IP, piece)
    made.track([SAME_IP], 0.0)
    verdict = made.verdict(SAME_IP, 0.0)
    assert verdict is not None
    assert verdict.reachability is Reachability.PUBLIC
    assert made.due(0.0) == (SAME_IP,)
    made.on_evidence(SAME_IP, silent(1.0, "21.0.0.1", "22.0.0.1"), 1.0)
    verdict = made.verdict(SAME_IP, 1.0)
    assert verdict is not None
    assert verdict.reachability is Reachability.PRIVATE
