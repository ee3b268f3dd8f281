"""Whom to ask next."""

import pytest

from p2pnode.protocols.autonat.server_choice import (
    MAX_REMEMBERED_SERVERS,
    Method,
    PossibleServer,
    ServerChoice,
)
from tests.support.identities import peer_id

ALL = tuple(Method)
A, B, C = map(peer_id, "abc")


def server(peer, *methods: Method) -> PossibleServer:
    return PossibleServer(peer, frozenset(method.value for method in methods))


@pytest.mark.spec("AUTONAT-33")
def test_the_best_protocol_decides_and_then_who_was_asked_longest_ago() -> None:
    choice = ServerChoice()
    servers = [server(A, Method.V1, Method.V2), server(B, *Method), server(C, Method.DELEGATED)]
    picks = [choice.pick(servers, ALL, 0.1 * step) for step in range(4)]

    assert picks == [
        (B, Method.DELEGATED),
        (C, Method.DELEGATED),
        (A, Method.V2),
        (B, Method.V2),
    ]


@pytest.mark.spec("AUTONAT-33")
@pytest.mark.parametrize(
    ("method", "pause"), [(Method.DELEGATED, 5.0), (Method.V2, 120.0), (Method.V1, 90.0)]
)
def test_nobody_is_asked_again_too_soon(method: Method, pause: float) -> None:
    choice, servers = ServerChoice(), [server(A, method)]

    assert choice.pick(servers, ALL, 0.0) == (A, method)
    assert choice.pick(servers, ALL, pause - 0.1) is None
    assert choice.pick(servers, ALL, pause) == (A, method)


@pytest.mark.spec("AUTONAT-20")
def test_where_no_helper_was_found_v2_is_next() -> None:
    choice, servers = ServerChoice(), [server(A, *Method)]

    assert choice.pick(servers, (Method.V2, Method.V1), 0.0) == (A, Method.V2)
    assert choice.pick([server(A)], ALL, 0.0) is None


def test_the_memory_is_bounded() -> None:
    choice = ServerChoice()
    for number in range(MAX_REMEMBERED_SERVERS + 1):
        assert choice.pick([server(peer_id(number), Method.V2)], ALL, 0.0)

    assert choice.pick([server(peer_id(0), Method.V2)], ALL, 0.0)
    assert choice.pick([server(peer_id(MAX_REMEMBERED_SERVERS), Method.V2)], ALL, 0.0) is None
