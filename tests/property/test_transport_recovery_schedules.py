from random import Random

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.transports.delivery.ack_tracker import AckTracker
from p2pnode.transports.delivery.congestion import minimum_window
from p2pnode.transports.delivery.cubic import Cubic
from p2pnode.transports.delivery.ecn import EcnState, EcnValidator
from p2pnode.transports.delivery.loss_recovery import LossRecovery, SentPacket
from p2pnode.transports.delivery.mtu_discovery import MtuDiscovery
from p2pnode.transports.delivery.rtt import RttEstimator


class Ledger:
    """A FrameOwner that holds every record to its contract."""

    def __init__(self):
        self.verdicts = {}

    def on_acked(self, a, b, c):
        assert self.verdicts.get(a, "") in ("", "L")
        self.verdicts[a] = self.verdicts.get(a, "") + "A"

    def on_lost(self, a, b, c):
        assert a not in self.verdicts
        self.verdicts[a] = "L"


class Path:
    """A sender, a receiver, and a network that the schedule commands."""

    def __init__(self):
        self.now = 0.0
        self.ledger = Ledger()
        self.ecn = EcnValidator()
        self.mtu = MtuDiscovery(maximum=1472)
        self.controller = Cubic(1200)
        self.recovery = LossRecovery(
            RttEstimator(), self.controller, rng=Random(0), ecn=self.ecn, mtu=self.mtu
        )
        self.tracker = AckTracker()
        self.next = 0
        self.outstanding = {}  # the oracle: what the sender must believe to be in flight
        self.on_the_wire = []
        self.acks = []

    def send(self, size, eliciting):
        if self.recovery.should_skip(self.next):
            self.recovery.mark_skipped(self.next)
            self.next += 1
        probe = self.mtu.probe_size(self.now) if eliciting else None
        if probe is not None:
            size = probe
            self.mtu.on_probe_sent(size, self.now)
        records = ((self.ledger, self.next, 0, 0),)
        packet = SentPacket(self.next, self.now, size, eliciting, records, probe is not None)
        self.recovery.on_packet_sent(packet, self.now)
        if eliciting:
            self.outstanding[self.next] = size
        self.on_the_wire.append((self.next, eliciting))
        self.next += 1

    def deliver(self, index):
        if self.on_the_wire:
            number, eliciting = self.on_the_wire.pop(index % len(self.on_the_wire))
            if not self.tracker.is_duplicate(number):
                self.tracker.on_packet(number, eliciting, self.ecn.codepoint_to_send, self.now)
            if self.tracker.largest >= 0:
                self.acks.append(self.tracker.build(0, self.now))

    def lose(self, index):
        if self.on_the_wire:
            self.on_the_wire.pop(index % len(self.on_the_wire))

    def acknowledge(self, index):
        if self.acks:
            ack = self.acks.pop(index % len(self.acks))
            outcome = self.recovery.on_ack_received(ack, 0.025, self.now)
            self.forget(outcome.newly_acked)
            self.forget(outcome.lost)

    def timeout(self):
        deadline = self.recovery.poll_timeout()
        if deadline is None:
            assert not self.outstanding
            return
        self.now = max(self.now, deadline.at)
        outcome = self.recovery.on_timeout(self.now)
        assert outcome.lost or outcome.probes
        self.forget(outcome.lost)

    def forget(self, packets):
        for packet in packets:
            self.outstanding.pop(packet.packet_number, None)

    def check(self):
        assert self.recovery.bytes_in_flight == sum(self.outstanding.values())
        assert self.controller.window >= minimum_window(1200)
        assert (self.recovery.poll_timeout() is None) <= (not self.outstanding)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(40, 1200), st.booleans()),
        st.tuples(st.just("burst"), st.integers(1, 30)),
        st.tuples(st.just("deliver"), st.integers(0, 3)),
        st.tuples(st.just("deliver"), st.integers(0, 50)),
        st.tuples(st.just("lose"), st.integers(0, 50)),
        st.tuples(st.just("acknowledge"), st.integers(0, 5)),
        st.tuples(st.just("acknowledge"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.floats(0.0001, 0.5)),
        st.tuples(st.just("timeout")),
        st.tuples(st.just("discard")),
    ),
    max_size=120,
)


def run(path, schedule):
    for step in schedule:
        match step:
            case ("send", size, eliciting):
                path.send(size, eliciting)
            case ("burst", count):
                for _ in range(count):
                    path.send(1200, True)
            case ("wait", seconds):
                path.now += seconds
            case ("discard",):
                path.recovery.discard_all()
                path.outstanding.clear()
            case (verb, *arguments):
                getattr(path, verb)(*arguments)
        path.check()


@given(steps)
def test_any_schedule_keeps_the_flight_exact_and_every_record_to_its_contract(schedule):
    path = Path()
    run(path, schedule)


@given(steps)
def test_every_record_has_a_verdict_once_the_network_has_calmed_down(schedule):
    path = Path()
    run(path, schedule)
    for _ in range(40):
        path.now += 0.05
        path.send(1200, True)
        while path.on_the_wire:
            path.deliver(0)
        while path.acks:
            path.acknowledge(-1)
    for _ in range(50):
        if path.outstanding:
            path.timeout()
    assert not path.outstanding
    assert path.recovery.bytes_in_flight == 0
    assert len(path.ledger.verdicts) >= path.next - 2
    assert path.ecn.state in (EcnState.CAPABLE, EcnState.FAILED)
