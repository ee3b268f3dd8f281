"""The swarm from outside: commands, events and facts, and nothing else; services keep apart."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.netsim.topology import wire
from p2pnode.swarm import Swarm
from p2pnode.swarm.services.service import Service
from p2pnode.testbed.sim_node import SimNode

ROOT = Path(__file__).parents[3]
READERS = ("p2pnode/cli", "p2pnode/io", "p2pnode/netcheck", "p2pnode/testbed", "simulations")
VALUES = {
    "p2pnode.swarm": {"Swarm", "SwarmConfig", "events"},
    "p2pnode.swarm.config": None,
    "p2pnode.swarm.events": None,
    "p2pnode.swarm.facts": None,
    "p2pnode.swarm.address_book": {"AddressSource", "LIFETIMES"},
    "p2pnode.swarm.swarm_stream": {"SwarmStream"},
}
"""What a swarm's users may import: whole modules, or these types of what they are given."""
OPEN = {"facts", "peer_id"}
"""What may be read of a swarm; everything else is called."""


def sources() -> list[Path]:
    files = [path for folder in READERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    return files


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (module, name), the name "" where the module itself is imported."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def read_of(path: Path, kind: str) -> Iterator[str]:
    """Yields the attributes of whatever is called a swarm, or facts."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.endswith(kind):
                yield node.attr


def made_swarm() -> Swarm:
    return SimNode(wire(1).a).swarm


def public(swarm: Swarm) -> dict[str, object]:
    return {name: value for name, value in inspect.getmembers(swarm) if not name.startswith("_")}


def test_who_uses_a_swarm_imports_its_face_only() -> None:
    found = [
        (str(path.relative_to(ROOT)), module, name)
        for path in sources()
        for module, name in imports(path)
        if module.startswith("p2pnode.swarm")
        and (module not in VALUES or name not in (VALUES[module] or {name}))
    ]
    assert found == []


def test_who_uses_a_swarm_reads_its_facts_and_gives_commands() -> None:
    known = set(public(made_swarm()))
    modules = {"swarm"}  # cli/app.py: the command of that name in its module
    found = [
        (str(path.relative_to(ROOT)), name)
        for path in sources()
        for name in read_of(path, "swarm")
        if name not in known | modules
    ]
    assert found == []


def test_nobody_looks_behind_the_facts() -> None:
    read = [(str(path), name) for path in sources() for name in read_of(path, "facts")]
    assert len(read) > 40
    assert [name for name in read if name[1].startswith("_")] == []


def test_nothing_of_a_swarm_is_open_but_its_facts() -> None:
    members = public(made_swarm())
    assert {name for name, value in members.items() if not inspect.ismethod(value)} == OPEN


def test_commands_take_the_time() -> None:
    without = {
        name
        for name, value in public(made_swarm()).items()
        if inspect.ismethod(value) and "now" not in inspect.signature(value).parameters
    }
    causing_nothing = {
        "add_probe_socket",
        "has_no_past",
        "protect",
        "remember_address",
        "remember_token",
        "send_datagram",
    }
    handing_over = {"check", "poll_events", "poll_key_log", "poll_qlog", "poll_timeout"}
    assert without == causing_nothing | handing_over


@pytest.mark.parametrize("part", ["_dials", "_relayed_paths", "_observations"])
def test_parts_of_the_swarm_hold_no_service(part: str) -> None:
    assert list(services_held(getattr(made_swarm(), part))) == []


def test_services_hold_no_other_service() -> None:
    services = made_swarm()._services.all
    assert len(services) == 10
    for service in services:
        assert [held for held in services_held(service) if held is not service] == []


def services_held(owner: object) -> Iterator[Service]:
    """Yields the services among what an object holds, and those whose methods it holds."""
    for value in vars(owner).values():
        for held in (value, getattr(value, "__self__", None)):
            if isinstance(held, Service):
                yield held
