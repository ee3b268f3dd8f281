"""A node's swarm and the driver under it, for the parts of the shell that give commands."""

from typing import NamedTuple

from p2pnode.clock import Instant
from p2pnode.io.driver import Driver
from p2pnode.swarm import Swarm
from p2pnode.swarm.events import SwarmEvent


class Engine(NamedTuple):
    """Every command to the swarm is followed by `drain` or `wake`."""

    swarm: Swarm
    driver: Driver[SwarmEvent]

    @property
    def now(self) -> Instant:
        return self.driver.current_time()

    def drain(self) -> None:
        """Carries out at once what a command caused: events are dispatched, packets are sent."""
        self.driver.drain()

    def wake(self) -> None:
        """Lets the driver do that soon; for what nobody waits for."""
        self.driver.wake()
