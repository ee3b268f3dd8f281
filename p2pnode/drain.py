"""The one order in which everybody drives a machine: the trio shell, the simulator, and tests."""

from collections.abc import Callable
from typing import TypeVar

from p2pnode.clock import Instant
from p2pnode.links import LinkOutlet
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
    brought = False
    if may_send:
        for transmit in machine.poll_transmits(now):
            send(transmit)
            brought = True
    if links is not None:
        for command in links.machine.poll_link_commands(now):
            links.carry_out(command)
            brought = True
    # Sending tells things as well, so events are taken behind it, or some would be left.
    for event in machine.poll_events():
        tell(event)
        brought = True
    return brought
