"""What the system says of datagrams that did not arrive, until the driver takes it."""

import errno
from typing import Final

from p2pnode.machine import MAX_BEGINNING, Buffer, Obstacle, SocketAddr, SocketId, Unreachable

MAX_REPORTS: Final = 64
"""reports a socket between two drains; chosen: those of as many dials as a node has under way"""

_OBSTACLES: Final = {
    getattr(errno, name): obstacle
    for obstacle, names in (
        (Obstacle.NO_ROUTE, ("ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL", "ENETDOWN")),
        (Obstacle.TOO_BIG, ("EMSGSIZE",)),
        (Obstacle.FORBIDDEN, ("EPERM", "EACCES")),
        (Obstacle.PORT_CLOSED, ("ECONNREFUSED",)),
    )
    for name in names
    if hasattr(errno, name)
}
"""Other errors say nothing about the way to the remote address."""


class UnreachableReports(list[Unreachable]):
    """The reports of one socket: a list, because the driver looks whether it is empty so often."""

    def __init__(self, socket_id: SocketId) -> None:
        super().__init__()
        self._socket_id = socket_id

    def add(
        self, error_number: int | None, remote: SocketAddr, datagram: Buffer, *, is_local: bool
    ) -> None:
        """Takes an error; nothing where it says nothing about the way, or there are too many."""
        obstacle = _OBSTACLES.get(error_number or 0)
        if obstacle is None or len(self) >= MAX_REPORTS:
            return
        beginning = bytes(datagram[:MAX_BEGINNING])
        self.append(Unreachable(self._socket_id, remote, obstacle, is_local, beginning))

    def take(self) -> list[Unreachable]:
        """Returns the reports since the last call, oldest first."""
        reports = list(self)
        self.clear()
        return reports
