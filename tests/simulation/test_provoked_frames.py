"""A peer behind a relay acknowledges nothing, and a hole punch brings a frame too many."""

from typing import Any

import pytest

from p2pnode.errors import ClosedForViolation
from p2pnode.machine import ConnectionHandle
from p2pnode.netsim.nat_presets import corporate, home
from p2pnode.netsim.topology import SiteParams
from p2pnode.swarm.events import ConnectionClosed
from p2pnode.swarm.relayed_paths import RelayedPaths
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.datagrams.control_frames import MAX_OUTSTANDING, ControlFrames
from p2pnode.transports.datagrams.frame import Ping
from p2pnode.transports.error_code import ErrorCode
from tests.support.hostile import Town


@pytest.mark.spec("TRANSPORT-46")
def test_a_punch_that_is_one_frame_too_many_ends_its_connection_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    town = Town(nat=corporate())
    victim, world = town.node, town.world
    full: list[ControlFrames] = []
    """Those of connections whose peer acknowledges no frame."""
    on_acked, punch = ControlFrames.on_acked, RelayedPaths.punch

    def heard_by_nobody(self: ControlFrames, a: int, b: int, c: int) -> None:
        if self not in full:
            on_acked(self, a, b, c)

    def provoked(self: RelayedPaths, handle: ConnectionHandle, *how: Any) -> None:
        connection = self._open(handle)
        if self is victim.swarm._relayed_paths and connection is not None:
            control = connection._control
            full.append(control)
            while control.outstanding < MAX_OUTSTANDING:
                control.push(Ping().encode())
        punch(self, handle, *how)

    monkeypatch.setattr(ControlFrames, "on_acked", heard_by_nobody)
    monkeypatch.setattr(RelayedPaths, "punch", provoked)
    mallory = SimNode(town.net.site("mallory", SiteParams(nat=corporate())).hosts[0])
    mallory.connect(town.relay)
    mallory.do(mallory.swarm.dial, victim.peer_id, (), world.now)
    world.run_until(lambda: bool(full), 30)
    world.run_for(60)
    (end,) = victim.of(ConnectionClosed)
    assert end.peer_id == mallory.peer_id
    assert isinstance(end.reason, ClosedForViolation)
    assert end.reason.code == ErrorCode.PROTOCOL_VIOLATION

    assert victim.connections_to(town.relay) == 1
    guest = SimNode(town.net.site("guest", SiteParams(nat=home())).hosts[0])
    guest.connect(town.relay)
    guest.do(guest.swarm.dial, victim.peer_id, (), world.now)
    world.run_until(lambda: guest.connections_to(victim) == 1, 10)
