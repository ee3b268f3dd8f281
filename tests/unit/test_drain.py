"""p2pnode/drain.py"""

from collections.abc import Sequence

import pytest

from p2pnode.clock import Deadline, Instant
from p2pnode.drain import drain_once
from p2pnode.links import CloseLink, LinkCommand, LinkEvent, LinkId, LinkOutlet
from p2pnode.machine import Received, Transmit
from tests.support.datagram_machines import transmit
from tests.support.link_machines import LinksOnly


class Chatty:
    """Sends what it is told, and tells an event of everything that it has sent."""

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.sent_at: list[Instant] = []
        self._events: list[str] = []

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None: ...

    def handle_timeout(self, now: Instant) -> None: ...

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        pending, self.pending = self.pending, []
        for data in pending:
            self.sent_at.append(now)
            self._events.append(f"sent {data.decode()}")
        return [transmit(data) for data in pending]

    def poll_events(self) -> list[str]:
        events, self._events = self._events, []
        return events

    def poll_timeout(self) -> Deadline | None:
        return None


def test_a_round_sends_first_and_hands_over_what_sending_has_told() -> None:
    machine, order = Chatty(), list[str]()
    machine.pending = [b"a", b"b"]

    def send(each: Transmit) -> None:
        order.append(bytes(each.buffer).decode())

    assert drain_once(machine, 3.0, send, order.append)
    assert order == ["a", "b", "sent a", "sent b"]
    assert machine.sent_at == [3.0, 3.0]
    assert not drain_once(machine, 3.0, send, order.append)


class WithLinks(Chatty):
    """Closes a link, and tells an event of that."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[LinkCommand] = []

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None: ...

    def poll_link_commands(self, now: Instant) -> list[LinkCommand]:
        commands, self.commands = self.commands, []
        self._events += [f"closed {command.link}" for command in commands]
        return commands


@pytest.mark.spec("LINK-7")
@pytest.mark.parametrize("may_send", [True, False])
def test_a_round_takes_commands_to_links_behind_transmits_and_before_events(
    may_send: bool,
) -> None:
    machine, order = WithLinks(), list[str]()
    machine.pending, machine.commands = [b"a"], [CloseLink(LinkId(2))]
    links = LinkOutlet(machine, lambda command: order.append(f"close {command.link}"))

    def drain() -> bool:
        return drain_once(
            machine,
            3.0,
            lambda each: order.append("a"),
            order.append,
            links=links,
            may_send=may_send,
        )

    assert drain()
    sent, told = (["a"], ["sent a"]) if may_send else ([], [])
    assert order == [*sent, "close 2", *told, "closed 2"]
    assert not drain()


def test_a_round_that_has_brought_commands_to_links_alone_is_not_the_last() -> None:
    machine = LinksOnly()
    machine.commands = [CloseLink(LinkId(2))]
    links = LinkOutlet(machine, lambda command: None)

    for has_brought in (True, False):
        round_ = drain_once(machine, 0.0, lambda _: None, lambda _: None, links=links)
        assert round_ is has_brought


def test_what_an_event_has_caused_is_for_the_next_round() -> None:
    machine, order = Chatty(), list[str]()
    machine.pending = [b"a"]

    def tell(event: str) -> None:
        order.append(event)
        if event == "sent a":
            machine.pending.append(b"b")

    while drain_once(machine, 0.0, lambda each: None, tell):
        pass
    assert order == ["sent a", "sent b"]


def test_who_may_not_send_takes_events_alone() -> None:
    machine, order = Chatty(), list[str]()
    machine.pending = [b"a"]
    machine._events = ["told"]
    assert drain_once(machine, 0.0, lambda each: None, order.append, may_send=False)
    assert order == ["told"]
    assert machine.pending == [b"a"]
