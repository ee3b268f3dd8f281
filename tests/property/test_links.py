"""Links over simulated pipes: whatever both sides do and however bytes are cut, the rules hold."""

from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.links import LINK_CREDIT, MAX_LINK_READ, LinkClosed, LinkId
from p2pnode.machine import SocketAddr
from p2pnode.netsim.host import Host, HostParams
from p2pnode.netsim.host_links import LinkKnobs
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import wire
from tests.support.link_machines import EchoTalker, Talker

B = SocketAddr("20.0.0.2", 4001)
ACCEPTED = LinkId(1)

Step: TypeAlias = tuple[str, int, int]
"""What is done, at which side, and how much of it."""

PIECES = st.tuples(
    st.sampled_from([1, 7, MAX_LINK_READ]), st.sampled_from([1, 7, MAX_LINK_READ])
).map(lambda pair: (min(pair), max(pair)))
KNOBS = st.builds(LinkKnobs, pieces=PIECES, window=st.sampled_from([500, 65_536]))
CABLE = st.builds(LinkParams, delay=st.sampled_from([0.0, 0.03]), rate=st.sampled_from([None, 1e6]))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "pause", "resume", "finish", "close", "reset", "wait", "cut"]),
        st.integers(0, 1),
        st.one_of(st.integers(1, 3000), st.just(2 * LINK_CREDIT)),
    ),
    max_size=12,
)


@dataclass
class Side:
    """One of two machines, its host, its link, and all that it wanted to say."""

    machine: Talker
    host: Host
    link: LinkId
    said: bytearray

    def do(self, what: str, size: int) -> None:
        machine, link, call = self.machine, self.link, self.host.call
        talk = machine.links[link]
        if talk.end is not None or talk.is_closed:
            return
        match what:
            case "write" if not talk.wants_end:
                data = Random(len(self.said)).randbytes(size)
                self.said += data
                call(machine.write, link, data)
            case "pause":
                call(machine.pause, link)
            case "resume":
                call(machine.resume, link)
            case "finish":
                call(machine.finish, link)
            case "close":
                call(machine.close, link)
            case "reset":
                call(machine.close, link, reset=True)


@given(st.integers(0, 2**16), KNOBS, CABLE, STEPS)
@settings(max_examples=60)
def test_whatever_both_sides_do_bytes_come_in_order_and_nothing_is_left(
    seed: int, knobs: LinkKnobs, cable: LinkParams, steps: list[Step]
) -> None:
    net = wire(seed, cable, host=HostParams(links=knobs))
    net.b.listen(B.port)
    a, b = Talker(), Talker()
    net.a.attach(lambda host: a)
    net.b.attach(lambda host: b)
    link = net.a.call(a.connect, B)
    net.world.run_for(0.1)
    sides = (
        Side(a, net.a, link, bytearray()),
        Side(b, net.b, ACCEPTED, bytearray()),
    )
    for what, which, size in steps:
        if what == "wait":
            net.world.run_for(size / LINK_CREDIT)
        elif what == "cut":
            net.link.set_up(not net.link.is_up)
        else:
            sides[which].do(what, size)
    net.link.set_up(True)
    is_gentle = not any(what in ("close", "reset") for what, _, _ in steps)
    for side in sides:
        side.do("resume", 0)
        side.do("finish", 0)
    # Through a small window not all of it has come by now.
    net.world.run_for(60)
    is_done = all(side.machine.links[side.link].end is not None for side in sides)
    for side, other in (sides, sides[::-1]):
        talk = side.machine.links[side.link]
        assert other.said.startswith(talk.received)
        if is_gentle and is_done:
            assert talk.received == other.said
            assert talk.end == LinkClosed(side.link, was_reset=False)
    for side in sides:
        side.do("write", 1)
        side.do("reset", 0)
    net.world.run_for(60)
    assert net.a.links.count == net.b.links.count == 0
    assert not net.a.links.ends
    assert not net.b.links.ends


@given(st.integers(0, 2**16), PIECES, st.binary(min_size=1, max_size=5000))
def test_any_cut_gives_the_same_bytes(seed: int, pieces: tuple[int, int], data: bytes) -> None:
    net = wire(seed, host=HostParams(links=LinkKnobs(pieces=pieces)))
    net.b.listen(B.port)
    talker = net.a.attach(lambda host: Talker())
    net.b.attach(lambda host: EchoTalker())
    link = net.a.call(talker.connect, B)
    net.a.call(talker.write, link, data)
    net.a.call(talker.finish, link)
    net.world.run_until(lambda: talker.links[link].end is not None, timeout=10)

    assert talker.links[link].received == data
    assert talker.links[link].end == LinkClosed(link, was_reset=False)
