"""The whole node without I/O: connections, addresses, streams and the built-in protocols.

`Swarm` is the machine that a shell or a simulator drives; everything else here is a part of it.
"""

from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.swarm import Swarm

__all__ = ["Swarm", "SwarmConfig"]
