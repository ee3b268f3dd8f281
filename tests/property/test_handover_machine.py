"""A connection between two nodes behind NATs survives whatever happens to its paths.

Two relays, a connection that was made through one of them, bytes in both directions, and rules that
reboot NATs, change addresses, lose packets, cut relays off and block the direct way, in any order.
At any time what has arrived is a prefix of what was sent.  In the end everything heals: all bytes
arrive, and where the NATs allow it the connection is direct.

    pytest tests/property/test_handover_machine.py                          a few examples, the same
    HYPOTHESIS_PROFILE=explore HANDOVER_EXAMPLES=2000 pytest -n0 -s tests/property/...    new ones

A failure is shrunk, and its story is in the notes of the exception (`tests.support.handover`).
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from p2pnode.netsim import nat_presets
from tests.support.handover import RELAYS, Handover

EXAMPLES = int(os.environ.get("HANDOVER_EXAMPLES", "10"))
STEPS = int(os.environ.get("HANDOVER_STEPS", "12"))

EASY = ("full_cone", "address_restricted", "home")
HARD = ("symmetric_sequential", "corporate", "linux", "mobile")
SETTLES = 180.0
"""seconds after everything has healed: idle timeout, the rest of a relay that failed, a punch"""
DIRECT_BY = 2 * 4000.0
"""seconds: without new evidence punches are an hour apart, and one may be lost"""

ends = st.sampled_from("AB")
relays = st.integers(0, RELAYS - 1)
nats = st.sampled_from(EASY + HARD)


class HandoverMachine(RuleBasedStateMachine):
    """Rules are what the world does; the checks are `Handover`'s, once a second."""

    scene: Handover

    @initialize(seed=st.integers(0, 255), nat_a=nats, nat_b=nats)
    def begin(self, seed: int, nat_a: str, nat_b: str) -> None:
        self.is_easy = nat_a in EASY and nat_b in EASY
        self.scene = Handover(seed, getattr(nat_presets, nat_a)(), getattr(nat_presets, nat_b)())
        self.scene.connect()

    @rule(end=ends, size=st.sampled_from((1, 1000, 30_000, 200_000)))
    def write(self, end: str, size: int) -> None:
        self.scene.write(end, size)

    @rule(seconds=st.sampled_from((0.05, 0.5, 2.0, 7.0, 20.0, 50.0, 130.0)))
    def time_passes(self, seconds: float) -> None:
        self.scene.run(seconds)

    @rule(end=ends)
    def nat_reboots(self, end: str) -> None:
        self.scene.reboot_nat(end)

    @rule(end=ends)
    def public_address_changes(self, end: str) -> None:
        self.scene.change_public_address(end)

    @rule(end=ends)
    def lan_address_changes(self, end: str) -> None:
        self.scene.change_lan_address(end)

    @rule(end=ends, is_up=st.booleans())
    def interface_goes(self, end: str, is_up: bool) -> None:
        self.scene.set_interface(end, is_up=is_up)

    @rule(
        end=ends,
        loss=st.sampled_from((0.0, 0.01, 0.1, 0.2)),
        delay=st.sampled_from((0.0125, 0.001, 0.1)),
    )
    def link_changes(self, end: str, loss: float, delay: float) -> None:
        self.scene.set_access(end, loss=loss, delay=delay)

    @rule(number=relays, is_cut=st.booleans())
    def relay_is_cut(self, number: int, is_cut: bool) -> None:
        self.scene.set_relay(number, is_cut=is_cut)

    @rule(number=relays, grace=st.sampled_from((1.0, 10.0)))
    def relay_drains(self, number: int, grace: float) -> None:
        self.scene.drain_relay(number, grace)

    @rule(number=relays)
    def relay_restarts(self, number: int) -> None:
        self.scene.restart_relay(number)

    @rule(is_blocked=st.booleans())
    def direct_way_is(self, is_blocked: bool) -> None:
        self.scene.set_wall(is_blocked=is_blocked)

    @rule(end=ends)
    def wakes_up(self, end: str) -> None:
        self.scene.revalidate(end)

    @precondition(lambda self: len(self.scene.losses) == 2)
    @rule()
    def dials_again(self) -> None:
        self.scene.redial()

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return
        scene = self.scene
        with scene.telling():
            scene.heal()
            scene.run(SETTLES)
            if not scene.is_connected:
                assert len(scene.losses) == 2, "only one end knows that the connection is lost"
                assert scene.redial(), "no new connection though everything works"
            for end in "AB":
                scene.write(end, 5_000)
            assert scene.world.reaches(lambda: scene.is_delivered, SETTLES), "bytes are missing"
            if self.is_easy:
                found = scene.world.reaches(lambda: scene.is_direct, DIRECT_BY)
                assert found, "the connection stays relayed, though its NATs can be punched"


HandoverMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    suppress_health_check=list(HealthCheck),
)
TestHandover = HandoverMachine.TestCase
