"""Rate limits of the serving side."""

import pytest

from p2pnode.protocols.autonat import budget as module
from p2pnode.protocols.autonat.budget import Budget, Permit, RateLimits
from tests.support.autonat import RELAYED, asker
from tests.support.spec_tables import tables

LIMITS = RateLimits(
    in_all=6, per_peer=2, per_prefix=3, per_target=2, with_dial_data=1, concurrent_per_peer=1
)


def run(budget: Budget, name: object, ip: str, now: float) -> str:
    """Returns why a dialogue that ends at once is refused, or nothing."""
    permit = budget.admit(asker(name, ip), now)
    if isinstance(permit, str):
        return permit
    permit.release()
    permit.release()
    return ""


@pytest.mark.spec("AUTONAT-23")
def test_a_peer_gets_its_share_of_a_minute_and_no_more() -> None:
    budget = Budget(LIMITS)
    answers = [run(budget, "a", "1.1.1.1", now) for now in (0.0, 10.0, 20.0, 60.0, 61.0)]

    assert ["peer" in answer for answer in answers] == [False, False, True, False, True]


@pytest.mark.spec("AUTONAT-23")
@pytest.mark.parametrize(
    "ips", [["1.1.1.1"] * 4, ["2a00::1", "2a00:0:0:1::1", "2a00:0:0:2::1", "2a00::2"]]
)
def test_fresh_identities_in_one_network_share_its_limit(ips: list[str]) -> None:
    budget = Budget(LIMITS)
    answers = [run(budget, name, ip, 0.0) for name, ip in enumerate(ips)]

    assert answers[:3] == ["", "", ""]
    assert "network" in answers[3]


@pytest.mark.spec("AUTONAT-23")
def test_all_requesters_together_share_the_limit_in_all() -> None:
    budget = Budget(LIMITS)
    answers = [run(budget, name, f"1.1.1.{name}", 0.0) for name in range(8)]

    assert [bool(answer) for answer in answers] == [False] * 6 + [True] * 2
    assert run(budget, 9, "1.1.1.9", 60.0) == ""


@pytest.mark.spec("AUTONAT-23")
def test_one_peer_has_so_many_dialogues_at_once() -> None:
    budget = Budget(LIMITS)
    first = budget.admit(asker("a", "1.1.1.1"), 0.0)

    assert isinstance(first, Permit)
    assert "at once" in run(budget, "a", "1.1.1.1", 0.0)
    first.release()
    assert run(budget, "a", "1.1.1.1", 0.0) == ""


@pytest.mark.spec("AUTONAT-23")
def test_a_target_is_spared_whoever_asks() -> None:
    budget = Budget(LIMITS)
    permits = [budget.admit(asker(name, f"1.1.1.{name}"), 0.0) for name in range(3)]
    refused = [
        permit.refuse_target("5.5.5.5", 1.0) for permit in permits if isinstance(permit, Permit)
    ]

    assert [bool(reason) for reason in refused] == [False, False, True]
    assert isinstance(permits[0], Permit)
    assert permits[0].refuse_target("5.5.5.6", 1.0) is None
    assert permits[0].refuse_target("5.5.5.5", 61.0) is None


@pytest.mark.spec("AUTONAT-23")
def test_dials_with_dial_data_have_a_limit_of_their_own() -> None:
    budget = Budget(LIMITS)
    permit = budget.admit(asker("a", "1.1.1.1"), 0.0)

    assert isinstance(permit, Permit)
    assert permit.refuse_dial_data(0.0) is None
    assert permit.refuse_dial_data(1.0)
    assert permit.refuse_dial_data(60.0) is None


@pytest.mark.spec("AUTONAT-22")
def test_requests_over_a_relay_are_not_admitted() -> None:
    assert "relay" in str(Budget(LIMITS).admit(RELAYED, 0.0))


@pytest.mark.spec("AUTONAT-23")
def test_the_limits_are_those_of_the_spec() -> None:
    for name, *numbers in tables("autonat.md", "Whom a server serves")[0]:
        assert RateLimits(*map(int, numbers)) == getattr(module, name.strip("`")), name
