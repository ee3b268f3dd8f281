"""The tree of exceptions is the one that p2pnode/errors.py draws."""

import importlib
import pkgutil
import re

import pytest

import p2pnode
from p2pnode import errors

LINE = re.compile(r"^    (?P<indent>(?:[| ]   )*)\+-- (?P<name>\w+)", re.MULTILINE)


def drawn() -> dict[str, str]:
    """Returns each exception's parent."""
    parents: dict[str, str] = {}
    branch = ["P2PNodeError"]
    for match in LINE.finditer(errors.__doc__ or ""):
        depth = len(match["indent"]) // 4
        branch[depth + 1 :] = [match["name"]]
        parents[match["name"]] = branch[depth]
    return parents


def defined(parent: type[Exception]) -> dict[str, str]:
    """Returns the parent of each exception below, without those that are private to a file."""
    parents: dict[str, str] = {}
    for child in parent.__subclasses__():
        if child.__module__.startswith("p2pnode.") and not child.__name__.startswith("_"):
            parents |= {child.__name__: parent.__name__, **defined(child)}
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    for module in pkgutil.walk_packages(p2pnode.__path__, "p2pnode."):
        if not module.name.endswith("__main__"):  # that one runs
            importlib.import_module(module.name)
    assert defined(errors.P2PNodeError) == drawn()


@pytest.mark.parametrize(
    "error",
    [
        errors.ClosedByPeer(7, "gone\np2pnode: \x1b[2Jforged\u2028"),
        errors.ProtocolNotSupported(("/x\n\u202e",)),
        errors.DialError("cannot reach it: a\nb"),
        errors.TransportError(1, "a\x85b"),
        errors.DecodeError("a\ud800"),
    ],
)
def test_the_text_of_an_error_is_one_printable_line(error: errors.P2PNodeError) -> None:
    assert str(error).isprintable()
    assert f"{error}".isprintable()


def test_an_error_keeps_what_the_peer_said_as_it_came() -> None:
    error = errors.ClosedByPeer(7, 'a\n"b"')
    assert error.reason == 'a\n"b"'
    assert str(error) == 'the peer closed the connection (code 0x7): "a\\x0a\\"b\\""'
