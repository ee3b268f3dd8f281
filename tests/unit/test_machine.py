"""p2pnode/machine.py"""

from collections.abc import Sequence

from p2pnode.clock import Deadline, Instant
from p2pnode.machine import Received, Transmit, drain_once
from tests.support.datagram_machines import transmit


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
