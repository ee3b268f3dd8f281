"""The peer on this library meets itself: what the judge asks of it, it can do at all."""

from collections.abc import Generator

import pytest

from tests.interop.peers.cells import CHECKS, tried, unread
from tests.interop.peers.meeting import Meeting, meet
from tests.interop.peers.peer import OWN

pytestmark = pytest.mark.slow

TRANSPORTS = ("noise-udp", "tcp", "quic-v1")


@pytest.fixture(scope="module", params=TRANSPORTS)
def meeting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Meeting]:
    own, logs = ("p2pnode", OWN), tmp_path_factory.mktemp("logs")
    with meet(own, own, request.param, logs) as both:
        yield both


@pytest.mark.parametrize("check", CHECKS)
def test_it_passes_by_itself(meeting: Meeting, check: str) -> None:
    assert tried(*meeting, (check,)) == {}
    assert tried(meeting.dialled, meeting.dialling, (check,)) == {}


def test_who_does_not_read_stops_the_sender(meeting: Meeting) -> None:
    unread(*meeting)
