"""The one order in which everybody drives a machine: the trio shell, the simulator, and tests."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from p2pnode.clock import Instant
from p2pnode.links import LinkCommand, LinkOutlet
from p2pnode.machine import DatagramMachine, Transmit

EventT = TypeVar("EventT")


def drain_once(
    machine: DatagramMachine[EventT],
    now: Instant,
    send: Callable[[Transmit], object],
    tell: Callable[[EventT], object],
    *,
    links: LinkOutlet | None = None,
    may_send: bool = True,
) -> bool:
    """One round of a drain: transmits, then commands to `links`, then events.

    Returns whether it brought anything; the drain is complete once a round has not.  Where the
    driver `may_send` no datagrams now, the rest is taken, and a later drain completes this one.
    """
    transmits = machine.poll_transmits(now) if may_send else []
    for transmit in transmits:
        send(transmit)
    commands: Sequence[LinkCommand] = ()
    if links is not None:
        commands = links.machine.poll_link_commands(now)
        for command in commands:
            links.carry_out(command)
    # Sending tells things as well, so events are taken behind it, or some would be left.
    events = machine.poll_events()
    for event in events:
        tell(event)
    return bool(transmits or commands or events)
