"""The diagram, the tables and the errors of specs/yamux.md are those of the code."""

import re

from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.stream_upgrade.yamux import send_half
from p2pnode.transports.stream_upgrade.yamux.frame import Flag, FrameType
from tests.support.spec_tables import block, tables

EDGE = re.compile(r"^\s*(\w+) --> (\w+): (\w+)$", re.MULTILINE)


def test_the_diagram_is_the_table():
    drawing = block("yamux.md", "yamux send half")
    state, event = send_half.SendState, send_half.SendInput
    drawn = {(state[a], event[e]): state[b] for a, b, e in EDGE.findall(drawing)}
    assert drawn == send_half.TRANSITIONS
    terminal = set(state) - {source for source, _ in send_half.TRANSITIONS}
    assert {state[a] for a in re.findall(r"(\w+) --> \[\*\]", drawing)} == terminal
    assert set(event) == {used for _, used in send_half.TRANSITIONS}


def test_the_tables_of_frames_are_the_code():
    _fields, types, flags = tables("yamux.md", "Frames")
    assert {row[0]: int(row[1]) for row in types} == {kind.name: kind.value for kind in FrameType}
    assert {row[0]: int(row[1]) for row in flags} == {flag.name: flag.value for flag in Flag}


def test_the_errors_are_error_codes():
    assert {row[0] for row in tables("yamux.md", "Errors")[0]} <= set(ErrorCode.__members__)
