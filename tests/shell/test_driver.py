"""The driver under a virtual clock, with sockets in memory."""

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pnode.clock import Deadline, Instant
from p2pnode.io.driver import LEAVE_TIMEOUT, MANY_READS, MAX_BATCHES, MAX_TURN_BYTES, Driver
from p2pnode.links import (
    LINK_CREDIT,
    LinkCommand,
    LinkConnected,
    LinkEvent,
    LinkId,
    LinkWritable,
    WriteLink,
)
from p2pnode.machine import Obstacle, Received, Transmit, Unreachable
from tests.support.datagram_machines import REMOTE, EchoMachine, ScriptedMachine, transmit
from tests.support.link_machines import Flood, Talker
from tests.support.sim_socket import SimSocket


async def test_an_answer_leaves_in_the_turn_that_brought_the_question(
    autojump_clock: MockClock,
) -> None:
    sock, events = SimSocket(), list[bytes]()
    async with running(Driver(EchoMachine(), events.append), sock):
        await trio.sleep(5)
        sock.deliver(b"one", REMOTE)
        sock.deliver(b"two", REMOTE)
        await wait_all_tasks_blocked()
        assert [(at, bytes(t.buffer), t.remote) for at, t in sock.sent] == [
            (trio.current_time(), b"one", REMOTE),
            (trio.current_time(), b"two", REMOTE),
        ]
        assert events == [b"one", b"two"]


async def test_the_timer_fires_at_the_deadline_and_not_before(autojump_clock: MockClock) -> None:
    machine = KeepAlive(every=10.0)
    sock = SimSocket()
    start = trio.current_time()
    async with running(Driver(machine, nothing), sock):
        await trio.sleep(35)
    assert [at - start for at, _ in sock.sent] == [10.0, 20.0, 30.0]


async def test_a_datagram_that_brings_the_deadline_forward_rearms_the_timer(
    autojump_clock: MockClock,
) -> None:
    machine = DeadlineAfterDatagram()
    machine.deadline = Deadline(trio.current_time() + 100, "idle")
    sock, start = SimSocket(), trio.current_time()
    async with running(Driver(machine, nothing), sock):
        await trio.sleep(1)
        sock.deliver(b"", REMOTE)
        await trio.sleep(50)
    assert [at - start for at in machine.timeouts] == [3.0]


async def test_a_deadline_that_moved_back_does_not_fire_early(autojump_clock: MockClock) -> None:
    machine, start = ScriptedMachine(), trio.current_time()
    machine.deadline = Deadline(start + 5, "probe")
    driver = Driver(machine, nothing)
    async with running(driver, SimSocket()):
        await trio.sleep(1)
        machine.deadline = Deadline(start + 20, "probe")
        driver.wake()
        await trio.sleep(30)
    assert [at - start for at in machine.timeouts] == [20.0]


async def test_a_command_is_carried_out_after_wake(autojump_clock: MockClock) -> None:
    machine, sock = ScriptedMachine(), SimSocket()
    driver = Driver(machine, nothing)
    async with running(driver, sock):
        await trio.sleep(25)
        machine.out.append(transmit(b"command"))
        driver.wake()
        await wait_all_tasks_blocked()
        assert [(at, bytes(t.buffer)) for at, t in sock.sent] == [(trio.current_time(), b"command")]


async def test_a_wake_before_run_is_not_lost(autojump_clock: MockClock) -> None:
    machine, sock = ScriptedMachine(), SimSocket()
    driver = Driver(machine, nothing)
    machine.out.append(transmit(b"early"))
    driver.wake()
    async with running(driver, sock):
        assert sock.payloads == [b"early"]


async def test_a_wake_from_within_a_dispatch_is_not_lost(autojump_clock: MockClock) -> None:
    machine, sock = ScriptedMachine(), SimSocket()

    def answer(event: str) -> None:
        machine.out.append(transmit(event.encode()))
        driver.wake()
        driver.drain()

    driver = Driver(machine, answer)
    async with running(driver, sock):
        machine.events += ["a", "b"]
        driver.wake()
        await wait_all_tasks_blocked()
        assert sock.payloads == [b"a", b"b"]


async def test_a_wake_while_the_drain_task_is_about_to_run_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    machine, sock = ScriptedMachine(), SimSocket()
    driver = Driver(machine, nothing)

    async def command(data: bytes) -> None:
        for _ in range(5):
            machine.out.append(transmit(data))
            driver.wake()
            await trio.lowlevel.checkpoint()

    async with running(driver, sock):
        async with trio.open_nursery() as nursery:
            for data in (b"x", b"y", b"z"):
                nursery.start_soon(command, data)
        await wait_all_tasks_blocked()
        assert sorted(sock.payloads) == [b"x"] * 5 + [b"y"] * 5 + [b"z"] * 5


async def test_many_wakes_make_one_drain(autojump_clock: MockClock) -> None:
    machine = ScriptedMachine()
    driver = Driver(machine, nothing)
    async with running(driver, SimSocket()):
        before = machine.polls
        for _ in range(100):
            driver.wake()
        await wait_all_tasks_blocked()
        assert machine.polls - before == 1


async def test_a_full_socket_gets_the_rest_later_in_order(autojump_clock: MockClock) -> None:
    machine, sock = ScriptedMachine(), SimSocket(room=2)
    driver = Driver(machine, nothing)
    async with running(driver, sock):
        machine.out = [transmit(bytes([n])) for n in range(6)]
        driver.wake()
        await wait_all_tasks_blocked()
        assert sock.payloads == [b"\0", b"\1"]
        sock.make_room(1)
        await wait_all_tasks_blocked()
        sock.make_room(10)
        await wait_all_tasks_blocked()
        assert sock.payloads == [bytes([n]) for n in range(6)]


async def test_a_machine_is_not_asked_for_more_while_a_socket_is_full(
    autojump_clock: MockClock,
) -> None:
    events: list[str] = []
    machine, sock = ScriptedMachine(), SimSocket(room=0)
    driver = Driver(machine, events.append)
    async with running(driver, sock):
        machine.out = [transmit(b"first")]
        driver.wake()
        await wait_all_tasks_blocked()
        polls = machine.polls
        machine.out = [transmit(b"second")]
        machine.events = ["still told"]
        machine.deadline = Deadline(trio.current_time() + 1, "still due")
        driver.wake()
        await trio.sleep(2)
        assert (machine.polls, events, len(machine.timeouts)) == (polls, ["still told"], 1)
        sock.make_room(10)
        await wait_all_tasks_blocked()
        assert sock.payloads == [b"first", b"second"]


async def test_a_full_socket_does_not_hold_up_what_others_were_given(
    autojump_clock: MockClock,
) -> None:
    machine, full, free = ScriptedMachine(), SimSocket(0, room=0), SimSocket(1)
    driver = Driver(machine, nothing)
    async with running(driver, full, free):
        machine.out = [transmit(b"v4", 0), transmit(b"v6", 1)]
        driver.wake()
        await wait_all_tasks_blocked()
        assert free.payloads == [b"v6"]


async def test_run_can_be_cancelled_while_a_socket_is_full(autojump_clock: MockClock) -> None:
    machine, sock = ScriptedMachine(), SimSocket(room=0)
    machine.out = [transmit(b"never")]
    with trio.move_on_after(1) as scope:
        driver = Driver(machine, nothing)
        driver.add_socket(sock)
        await driver.run()
    assert scope.cancelled_caught
    driver.drain()  # what a node does last, for its CONNECTION_CLOSE
    assert sock.sent == []


async def test_the_last_words_wait_for_a_full_socket(autojump_clock: MockClock) -> None:
    machine, sock = ScriptedMachine(), SimSocket(room=0)
    driver = Driver(machine, nothing)
    async with running(driver, sock):
        machine.out = [transmit(b"before")]
        driver.wake()
        await wait_all_tasks_blocked()
    machine.out = [transmit(b"goodbye")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.finish)
        await trio.sleep(LEAVE_TIMEOUT / 4)
        sock.make_room(1)
        await trio.sleep(LEAVE_TIMEOUT / 4)
        sock.make_room(1)
    assert sock.payloads == [b"before", b"goodbye"]


async def test_the_last_words_may_take_more_than_a_turn(autojump_clock: MockClock) -> None:
    machine, sock = Talkative(100), SimSocket()
    driver = Driver(machine, nothing)
    driver.add_socket(sock)
    await driver.finish()
    assert sock.payloads == [b"%d" % n for n in range(100)]


async def test_the_last_words_are_waited_for_a_bounded_time_cancelled_or_not(
    autojump_clock: MockClock,
) -> None:
    machine, sock = ScriptedMachine(), SimSocket(room=0)
    driver = Driver(machine, nothing)
    driver.add_socket(sock)
    machine.out = [transmit(b"never")]
    began = trio.current_time()
    with trio.CancelScope() as scope:
        scope.cancel()
        await driver.finish()
    assert trio.current_time() - began == LEAVE_TIMEOUT


async def test_sockets_come_while_it_runs(autojump_clock: MockClock) -> None:
    machine, first, second = EchoMachine(), SimSocket(1), SimSocket(2)
    driver = Driver(machine, nothing)
    async with running(driver, first):
        driver.add_socket(second)
        second.deliver(b"hello", REMOTE)
        await wait_all_tasks_blocked()
        assert second.payloads == [b"hello"]
        first.deliver(b"here", REMOTE)
        await wait_all_tasks_blocked()
        assert (second.payloads, first.payloads) == ([b"hello"], [b"here"])


async def test_endless_output_leaves_other_tasks_their_turns(autojump_clock: MockClock) -> None:
    driver, sock = Driver(Endless(), nothing), SimSocket()
    async with running(driver, sock, settle=False):
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert sock.sent


async def test_a_deadline_that_stays_overdue_leaves_other_tasks_their_turns(
    autojump_clock: MockClock,
) -> None:
    async with running(Driver(AlwaysOverdue(), nothing), SimSocket(), settle=False):
        for _ in range(20):
            await trio.lowlevel.checkpoint()


async def test_dispatches_that_cause_events_for_ever_leave_other_tasks_their_turns(
    autojump_clock: MockClock,
) -> None:
    machine = ScriptedMachine()

    def again(event: str) -> None:
        machine.events.append(event)

    machine.events.append("again")
    async with running(Driver(machine, again), SimSocket(), settle=False):
        for _ in range(20):
            await trio.lowlevel.checkpoint()


async def test_what_was_not_sent_is_told_once_the_drain_is_complete(
    autojump_clock: MockClock,
) -> None:
    machine, sock = Hearing(), SimSocket()
    driver = Driver(machine, nothing)
    async with running(driver, sock):
        sock.unreachable.add(errno.ENETUNREACH, REMOTE, b"lost", is_local=True)
        driver.drain()
        report = Unreachable(sock.socket_id, REMOTE, Obstacle.NO_ROUTE, True, b"lost")
        assert machine.heard == [report]
        assert sock.payloads == [b"again"]  # what the machine said to it left in the same turn
        assert not sock.unreachable


async def test_a_machine_that_hears_of_nothing_unreachable_is_not_told(
    autojump_clock: MockClock,
) -> None:
    sock = SimSocket()
    driver = Driver(ScriptedMachine(), nothing)
    async with running(driver, sock):
        sock.unreachable.add(errno.ENETUNREACH, REMOTE, b"lost", is_local=True)
        driver.drain()
        assert not sock.unreachable


async def test_a_turn_ends_after_so_many_bytes_though_there_is_more(
    autojump_clock: MockClock,
) -> None:
    driver, sock = Driver(Endless(), nothing), SimSocket()
    driver.add_socket(sock)
    driver.drain()
    sizes = [len(payload) for payload in sock.payloads]
    assert sum(sizes[:-1]) < MAX_TURN_BYTES <= sum(sizes)


async def test_a_turn_ends_after_so_many_bytes_of_links_too(autojump_clock: MockClock) -> None:
    machine, carrier = Flood(), EndlessLinks()
    driver = Driver(machine, nothing)
    driver.carry_links(carrier)
    link = machine.connect(REMOTE)
    driver.drain()
    carrier.grant(link)
    driver.drain()
    assert MAX_TURN_BYTES <= carrier.written < MAX_TURN_BYTES + 2 * LINK_CREDIT
    driver.drain()
    assert carrier.written >= 2 * MAX_TURN_BYTES


@pytest.mark.spec("LINK-7")
async def test_links_go_on_while_a_socket_is_full(autojump_clock: MockClock) -> None:
    machine, sock, carrier = Talker(), SimSocket(room=0), EndlessLinks()
    driver = Driver(machine, nothing)
    driver.carry_links(carrier)
    machine.write(machine.connect(REMOTE), b"on its way")
    machine.datagrams.append(transmit(b"no room"))
    async with running(driver, sock):
        carrier.grant(LinkId(0))
        carrier.ready.set()
        await wait_all_tasks_blocked()
        assert sock.sent == []
        assert carrier.written == len(b"on its way")


async def test_what_is_behind_many_small_reads_is_handed_over_with_them(
    autojump_clock: MockClock,
) -> None:
    machine, sock = ScriptedMachine(), SimSocket()
    sock.batch_size = MANY_READS
    async with running(Driver(machine, nothing), sock):
        for number in range(3 * MANY_READS):
            sock.deliver(b"%d" % number, REMOTE)
        await wait_all_tasks_blocked()
        assert [data for _, data in machine.received] == [b"%d" % n for n in range(3 * MANY_READS)]
        assert machine.batches == [3 * MANY_READS]


async def test_a_socket_that_is_never_empty_is_handed_over_in_bounded_batches(
    autojump_clock: MockClock,
) -> None:
    machine, sock = ScriptedMachine(), SimSocket()
    sock.batch_size = MANY_READS
    most = MAX_BATCHES * MANY_READS
    async with running(Driver(machine, nothing), sock):
        for _ in range(2 * most + 10):
            sock.deliver(b"x", REMOTE)
        await wait_all_tasks_blocked()
        assert machine.batches == [most, most, 10]


async def test_a_bug_in_a_machine_ends_run(autojump_clock: MockClock) -> None:
    sock = SimSocket()
    driver = Driver(Broken(), nothing)
    driver.add_socket(sock)
    sock.deliver(b"boom", REMOTE)
    with pytest.raises(ExceptionGroup) as caught:
        await driver.run()
    assert caught.group_contains(ZeroDivisionError)


# Machines and helpers.


class KeepAlive(ScriptedMachine):
    def __init__(self, every: float) -> None:
        super().__init__()
        self._every = every
        self.deadline = Deadline(trio.current_time() + every, "keep-alive")

    def handle_timeout(self, now: Instant) -> None:
        assert self.deadline is not None
        self.out.append(transmit(b"ping"))
        self.deadline = Deadline(self.deadline.at + self._every, "keep-alive")


class DeadlineAfterDatagram(ScriptedMachine):
    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self.deadline = Deadline(now + 2, "answer due")


class Talkative(ScriptedMachine):
    """Says one thing each time it is asked."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self._left = [b"%d" % n for n in range(words)]

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        return [transmit(self._left.pop(0))] if self._left else []


class Endless(ScriptedMachine):
    def poll_transmits(self, now: Instant) -> list[Transmit]:
        return [transmit(bytes(60_000))]


class EndlessLinks:
    """Carries links that take everything, and grant it again."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []
        self.written = 0
        self.ready = trio.Event()

    def grant(self, link: LinkId) -> None:
        self.events.append(LinkConnected(link, REMOTE))
        self.events.append(LinkWritable(link, LINK_CREDIT))

    def take(self) -> list[LinkEvent]:
        events = self.events.copy()
        self.events.clear()
        return events

    def carry_out(self, command: LinkCommand) -> None:
        if isinstance(command, WriteLink):
            self.written += len(command.data)
            self.events.append(LinkWritable(command.link, len(command.data)))

    async def run(self, on_events: Callable[[], None]) -> None:
        await self.ready.wait()
        on_events()

    async def finish(self) -> None:
        """Nothing waits here."""


class Hearing(ScriptedMachine):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Unreachable] = []

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        self.heard += reports
        self.out.append(transmit(b"again"))


class AlwaysOverdue(ScriptedMachine):
    def poll_timeout(self) -> Deadline | None:
        return Deadline(-1e9, "bug")


class Broken(ScriptedMachine):
    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        raise ZeroDivisionError


def nothing(event: object) -> None:
    """Drops the event."""


@asynccontextmanager
async def running(
    driver: Driver[bytes] | Driver[str] | Driver[LinkEvent],
    *sockets: SimSocket,
    settle: bool = True,
) -> AsyncIterator[None]:
    for sock in sockets:
        driver.add_socket(sock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        if settle:
            await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()
