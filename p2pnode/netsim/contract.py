"""Watches a driver and its machine, and finds out when one breaks the contract of machine.py.

    Contract(machine)  is a machine as well: whatever drives the one drives the other

What it asserts, of the machine unless it says otherwise:

- nothing raises but commands, and they only what `errors.py` has for callers;
- `now` never decreases (the driver's duty);
- after a complete drain nothing is left to say, and asking changes nothing;
- from there on nothing is said, and the deadline stays, until there is a cause: `handle_*` or a
  command, which a drain must follow (the driver's duty);
- `handle_timeout` before the deadline does nothing; a deadline that was handled is another one
  after the drain;
- what the machine knows of its own parts is so (`check`, where it has that);
- both keep the rules of links (`link_rules`), where the machine has links.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Generic, ParamSpec, TypeVar

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import P2PNodeError, RemoteProtocolError
from p2pnode.links import LinkCommand, LinkEvent, LinkMachine
from p2pnode.machine import (
    DatagramMachine,
    HearsUnreachable,
    Received,
    SelfChecking,
    Transmit,
    Unreachable,
)
from p2pnode.netsim.link_rules import LinkRules

EventT = TypeVar("EventT")
P = ParamSpec("P")
T = TypeVar("T")


class Contract(Generic[EventT]):
    """A machine that is watched."""

    def __init__(self, machine: DatagramMachine[EventT], error: Callable[[str], Exception]) -> None:
        """`error` makes what is raised where the contract is broken."""
        self._machine = machine
        self._error = error
        self._check = machine.check if isinstance(machine, SelfChecking) else None
        self._links = machine if isinstance(machine, LinkMachine) else None
        self.has_links = self._links is not None
        self._link_rules = LinkRules(error)
        self._now: Instant = -inf
        self._has_sent = False
        """Whether the round of a drain that is under way has brought transmits or commands."""
        self._is_drained = False
        self._deadline: Deadline | None = None
        """After the last complete drain."""
        self._handled: Deadline | None = None
        """What was due when `handle_timeout` was called; None once a drain has followed."""

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self._advance(now)
        self._assert_at_rest("something was received")
        self._is_drained = False
        try:
            self._machine.handle_received(batch, now)
        except Exception as error:
            raise self._raised("handle_received", error) from error

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Does nothing where the machine does not hear of it."""
        self._advance(now)
        self._assert_at_rest("something was not delivered")
        if isinstance(self._machine, HearsUnreachable):
            self._is_drained = False
            try:
                self._machine.handle_unreachable(reports, now)
            except Exception as error:
                raise self._raised("handle_unreachable", error) from error

    def handle_link_events(self, events: Sequence[LinkEvent], now: Instant) -> None:
        self._advance(now)
        self._assert_at_rest("something happened to a link")
        if self._links is None:
            raise self._error("a machine without links was told of one")
        self._is_drained = False
        self._link_rules.on_events(events)
        try:
            self._links.handle_link_events(events, now)
        except Exception as error:
            raise self._raised("handle_link_events", error) from error

    def handle_timeout(self, now: Instant) -> None:
        self._advance(now)
        self._assert_at_rest("a timeout was handled")
        due = self._machine.poll_timeout()
        try:
            self._machine.handle_timeout(now)
        except Exception as error:
            raise self._raised("handle_timeout", error) from error
        if due is not None and now >= due.at:
            self._is_drained = False
            self._handled = due
        else:
            self._assert_at_rest("handle_timeout was called too early", is_after=True)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        self._advance(now)
        try:
            transmits = self._machine.poll_transmits(now)
        except Exception as error:
            raise self._raised("poll_transmits", error) from error
        self._has_sent = bool(transmits)
        return transmits

    def poll_link_commands(self, now: Instant) -> Sequence[LinkCommand]:
        self._advance(now)
        try:
            commands = self._poll_links()
        except Exception as error:
            raise self._raised("poll_link_commands", error) from error
        self._link_rules.on_commands(commands)
        self._has_sent = self._has_sent or bool(commands)
        return commands

    def poll_events(self) -> Sequence[EventT]:
        try:
            events = self._machine.poll_events()
        except Exception as error:
            raise self._raised("poll_events", error) from error
        if not events and not self._has_sent:
            self._on_drained()
        return events

    def poll_timeout(self) -> Deadline | None:
        return self._machine.poll_timeout()

    def call(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Gives a command, which may raise what `errors.py` has for callers and nothing else."""
        try:
            return command(*args, **kwargs)
        except RemoteProtocolError as error:
            raise self._raised("a command", error) from error
        except P2PNodeError:
            raise
        except Exception as error:
            raise self._raised("a command", error) from error

    def _poll_links(self) -> Sequence[LinkCommand]:
        return () if self._links is None else self._links.poll_link_commands(self._now)

    def _raised(self, call: str, error: Exception) -> Exception:
        return self._error(f"{call} raised {error!r}")

    def _advance(self, now: Instant) -> None:
        if now < self._now:
            raise self._error(f"the driver's time went back from {self._now} to {now}")
        self._now = now

    def _assert_at_rest(self, what: str, *, is_after: bool = False) -> None:
        """Nothing has happened since the last drain, or the driver has not followed it by one."""
        if not self._is_drained:
            return
        when = "when" if is_after else "before"
        machine = self._machine
        deadline = machine.poll_timeout()
        if deadline != self._deadline:
            moved = f"the deadline moved from {self._deadline} to {deadline}"
            raise self._error(f"{moved} without a cause, {when} {what}")
        if deadline is not None and self._now >= deadline.at:
            return  # time alone is cause enough
        transmits = machine.poll_transmits(self._now)
        if found := [*machine.poll_events(), *transmits, *self._poll_links()]:
            raise self._error(f"{found[0]} came without a cause, {when} {what}")

    def _on_drained(self) -> None:
        machine = self._machine
        deadline = machine.poll_timeout()
        transmits = machine.poll_transmits(self._now)
        if found := [*transmits, *self._poll_links(), *machine.poll_events()]:
            raise self._error(f"{found[0]} came after the drain was complete")
        if deadline != machine.poll_timeout():
            raise self._error(f"the deadline {deadline} moved because it was asked for")
        if self._handled is not None and deadline == self._handled:
            raise self._error(f"the deadline {deadline} was handled, and is due still")
        if self._check is not None:
            self._check()
        self._handled = None
        self._deadline = deadline
        self._is_drained = True
