"""The NAT table against a reference that keeps a log of everything and searches it.

The reference has no tables, timers or shared state: each question is answered by going through all
packets that ever passed.  Slow, and hard to get wrong in the same way.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import (
    Collision,
    Dependence,
    FilterScope,
    NatBehaviour,
    PortChoice,
    Refresh,
)
from p2pnode.netsim.nat_table import NatTable
from p2pnode.netsim.trace import Drop

PUBLIC = "22.0.0.1"
INSIDE = [SocketAddr(f"192.168.1.{i}", port) for i in (10, 11) for port in (2000, 2001)]
OUTSIDE = [SocketAddr(f"30.0.0.{i}", port) for i in (1, 2) for port in (1000, 1001)]
PORTS = (2000, 2031)


def scope_of(dependence: Dependence, remote: SocketAddr) -> Hashable:
    return {
        Dependence.ENDPOINT_INDEPENDENT: "anybody",
        Dependence.ADDRESS_DEPENDENT: remote.ip,
        Dependence.ADDRESS_AND_PORT_DEPENDENT: (remote.ip, remote.port),
    }[dependence]


@dataclass
class Flow:
    """One mapping from its first packet to its death, with every packet that concerned it."""

    internal: SocketAddr
    key: Hashable
    external: SocketAddr
    log: list[tuple[float, str, SocketAddr]]  # (time, "out", "in" or "filtered", remote)


class Reference:
    def __init__(self, behaviour: NatBehaviour) -> None:
        self.b = behaviour
        self.flows: list[Flow] = []

    def alive_until(self, flow: Flow) -> float:
        """Walks through the flow's whole life."""
        until, answered = 0.0, False
        for at, what, _ in flow.log:
            answered = answered or what == "in"
            refreshes = what == "out" or (
                (what == "in" and self.b.refresh is not Refresh.OUTBOUND)
                or (what == "filtered" and self.b.refresh is Refresh.OUTBOUND_AND_ANY_INBOUND)
            )
            if refreshes:
                until = at + (self.b.stream_timeout if answered else self.b.unreplied_timeout)
        return until

    def admits(self, flow: Flow, remote: SocketAddr, now: float) -> bool:
        """Looks for an outbound packet that still allows the remote to answer."""
        assert self.b.filter_timeout is not None
        per_endpoint = self.b.filter_scope is FilterScope.INTERNAL_ENDPOINT
        relevant = [
            f for f in self.flows if f is flow or (per_endpoint and f.internal == flow.internal)
        ]
        wanted = scope_of(self.b.filtering, remote)
        return any(
            what == "out"
            and scope_of(self.b.filtering, to) == wanted
            and at + self.b.filter_timeout > now
            for f in relevant
            for at, what, to in f.log
        )

    def find(self, internal: SocketAddr, remote: SocketAddr, now: float) -> Flow | None:
        key = scope_of(self.b.mapping, remote)
        for flow in self.flows:
            if (flow.internal, flow.key) == (internal, key) and self.alive_until(flow) > now:
                return flow
        return None

    def at(self, external: SocketAddr, now: float) -> Flow | None:
        for flow in self.flows:
            if flow.external == external and self.alive_until(flow) > now:
                return flow
        return None


class NatAgainstReference(RuleBasedStateMachine):
    @initialize(
        mapping=st.sampled_from(Dependence),
        filtering=st.sampled_from(Dependence),
        scope=st.sampled_from(FilterScope),
        refresh=st.sampled_from(Refresh),
        choice=st.sampled_from(PortChoice),
        collision=st.sampled_from([Collision.NEXT, Collision.RANDOM]),
        same_port=st.booleans(),
    )
    def box(
        self,
        mapping: Dependence,
        filtering: Dependence,
        scope: FilterScope,
        refresh: Refresh,
        choice: PortChoice,
        collision: Collision,
        same_port: bool,
    ) -> None:
        behaviour = NatBehaviour(
            mapping=mapping,
            filtering=filtering,
            filter_scope=scope,
            refresh=refresh,
            port_choice=choice,
            collision=collision,
            same_port_after_expiry=same_port,
            block_size=16,
            ports=PORTS,
            unreplied_timeout=30,
            stream_timeout=60,
            filter_timeout=45,
        )
        self.now = 0.0
        self.nat = NatTable((PUBLIC,), behaviour, Random(0))
        self.reference = Reference(behaviour)

    @rule(internal=st.sampled_from(INSIDE), remote=st.sampled_from(OUTSIDE))
    def send(self, internal: SocketAddr, remote: SocketAddr) -> None:
        expected = self.reference.find(internal, remote, self.now)
        external = self.nat.outbound(internal, remote, self.now)

        assert isinstance(external, SocketAddr)
        assert external.ip == PUBLIC
        assert PORTS[0] <= external.port <= PORTS[1]
        if expected is None:
            assert self.reference.at(external, self.now) is None, "the port is in use"
            key = scope_of(self.reference.b.mapping, remote)
            expected = Flow(internal, key, external, [])
            self.reference.flows.append(expected)
        assert external == expected.external
        expected.log.append((self.now, "out", remote))

    @precondition(lambda self: self.reference.flows)
    @rule(data=st.data(), remote=st.sampled_from(OUTSIDE))
    def answer(self, data: st.DataObject, remote: SocketAddr) -> None:
        external = data.draw(st.sampled_from(self.reference.flows)).external
        flow = self.reference.at(external, self.now)
        got = self.nat.inbound(remote, external, self.now)

        if flow is None:
            assert got is Drop.NO_MAPPING
            return
        admitted = self.reference.admits(flow, remote, self.now)
        assert got == (flow.internal if admitted else Drop.FILTERED)
        flow.log.append((self.now, "in" if admitted else "filtered", remote))

    @rule(seconds=st.sampled_from([0.0, 1.0, 14.0, 29.0, 31.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_same_mappings_are_alive(self) -> None:
        if not hasattr(self, "nat"):
            return
        alive = [f for f in self.reference.flows if self.reference.alive_until(f) > self.now]
        assert sorted(self.nat.mappings(self.now)) == sorted(
            (f.internal, f.external) for f in alive
        )


NatAgainstReference.TestCase.settings = settings(
    deadline=None, max_examples=250, stateful_step_count=30
)


@pytest.mark.spec("NETSIM-6")
class TestNatAgainstReference(NatAgainstReference.TestCase):
    """Collected by pytest."""
