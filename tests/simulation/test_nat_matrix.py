"""The NAT matrix: whole nodes behind every pair of NATs do what RFC 4787's definitions predict.

The study has the whole grid with several seeds in its results; here is a third of it, with others.
"""

import json
from math import inf
from statistics import median
from xml.etree import ElementTree

import pytest

from p2pnode.netsim.nat_behaviour import Dependence, FilterScope
from simulations.nat_matrix import (
    KINDS,
    RESULTS,
    SCOPES,
    SEEDS,
    Result,
    Scenario,
    cells_of,
    direct_path_possible,
    run,
)
from simulations.nat_matrix_picture import WRONG, picture

THIRDS = 3
NAMES = list(KINDS)


def kept() -> list[Result]:
    lines = (RESULTS / "nat_matrix.jsonl").read_text().splitlines()
    return [Result(**json.loads(line)) for line in lines]


def cells(third: int) -> list[tuple[str, str]]:
    return [
        (a, b)
        for i, a in enumerate(NAMES)
        for j, b in enumerate(NAMES)
        if (i + j) % THIRDS == third
    ]


@pytest.mark.parametrize(("scope", "direct"), [("internal endpoint", 49), ("mapping", 45)])
def test_the_oracle_is_what_the_definitions_say(scope: str, direct: int) -> None:
    def is_predictable(kind: str) -> bool:
        return KINDS[kind][0] is Dependence.ENDPOINT_INDEPENDENT

    def opens_for(kind: str, other: str) -> bool:
        """A permission for an address suffices, or the other's port can be named."""
        by_port = KINDS[kind][1] is Dependence.ADDRESS_AND_PORT_DEPENDENT
        return not by_port or is_predictable(other)

    def has_permission_where_it_is_seen(kind: str) -> bool:
        """The mapping that others know of lets them in, or the mapping never changes."""
        lets_everybody_in = KINDS[kind][1] is Dependence.ENDPOINT_INDEPENDENT
        return SCOPES[scope] is FilterScope.INTERNAL_ENDPOINT or lets_everybody_in

    possible = {
        (a, b)
        for a in NAMES
        for b in NAMES
        if opens_for(a, b)
        and opens_for(b, a)
        and (
            is_predictable(a)
            or is_predictable(b)
            or has_permission_where_it_is_seen(a)
            or has_permission_where_it_is_seen(b)
        )
    }
    assert possible == {(a, b) for a in NAMES for b in NAMES if direct_path_possible(a, b, scope)}
    assert len(possible) == direct


@pytest.mark.slow
@pytest.mark.parametrize("third", range(THIRDS))
def test_whole_nodes_agree_with_the_oracle(third: int) -> None:
    scope = list(SCOPES)[third % len(SCOPES)]
    for a, b in cells(third):
        result = run(Scenario(a, b, scope), seed=100 + third)
        assert result.pong_s is not None, result
        assert result.is_expected, result


def test_the_results_in_the_repository_are_whole_and_as_predicted() -> None:
    results = kept()
    assert len({(r.a, r.b, r.scope, r.seed) for r in results}) == 2 * 81 * SEEDS
    assert all(r.is_expected for r in results)
    assert median(r.reserved_s or inf for r in results) <= 1.0
    assert median(r.pong_s or inf for r in results) <= 0.7
    assert median(r.direct_s for r in results if r.direct_s is not None) <= 1.0
    pictures = {f"filter state by {scope}": cells_of(results, scope) for scope in SCOPES}
    assert (RESULTS / "nat_matrix.svg").read_text() == picture(pictures)


def test_the_picture_shows_what_is_wrong() -> None:
    results = kept()
    wrong = [
        Result(r.a, r.b, r.scope, r.seed, r.reserved_s, r.pong_s, None, None, r.a != "EI/EI")
        for r in results
    ]
    drawn = picture({"x": cells_of(wrong, "mapping")})
    root = ElementTree.fromstring(drawn)
    fills = [element.get("fill") for element in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert fills.count(WRONG) == 9
