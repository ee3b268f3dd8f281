"""The diagrams and the limits of specs/streams.md are those of the code."""

import re

import pytest

from p2pnode.transports.delivery import recv_stream, send_stream
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.stream_events import StreamEvent
from tests.support.spec_tables import block, constant, tables

EDGE = re.compile(r"^\s*(\w+) --> (\w+): (\w+)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "transitions", "state", "event"),
    [
        ("send stream", send_stream.TRANSITIONS, send_stream.SendState, send_stream.SendInput),
        ("recv stream", recv_stream.TRANSITIONS, recv_stream.RecvState, recv_stream.RecvInput),
    ],
)
def test_the_diagram_is_the_table(name, transitions, state, event):
    drawing = block("streams.md", name)
    drawn = {(state[a], event[e]): state[b] for a, b, e in EDGE.findall(drawing)}
    assert drawn == transitions
    terminal = set(state) - {source for source, _ in transitions}
    assert {state[a] for a in re.findall(r"(\w+) --> \[\*\]", drawing)} == terminal
    assert set(event) == {used for _, used in transitions}


def test_the_limits_are_the_constants():
    for name, value, _ in tables("streams.md", "Limits and timers")[0]:
        found = constant(name, "p2pnode.transports.delivery")
        assert float(value.split()[0].replace(",", "")) == found, name


def test_the_errors_are_error_codes():
    assert {row[0] for row in tables("streams.md", "Errors")[0]} <= set(ErrorCode.__members__)


def test_the_events_are_all_there():
    named = [row[0] for row in tables("streams.md", "Events")[0]]
    assert sorted(named) == sorted(event.__name__ for event in StreamEvent.__args__)
