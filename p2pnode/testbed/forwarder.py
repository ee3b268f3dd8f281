"""The program that is the Internet: it carries IP packets between the TUN devices of the sites.

    python -m p2pnode.testbed.forwarder FD HOPS TIME_EXCEEDED SEED

A process of its own, so that it delays packets and not those whose packets they are.  FD is a
SOCK_SEQPACKET socket to the process that started it (`internet.Internet`): commands come as JSON, a
site's device as a file next to its command, and each gets an answer.  When that process is gone,
this one kills what still runs in the sites' namespaces and ends.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from p2pnode.testbed.access import AccessLink
from p2pnode.testbed.core import Core
from p2pnode.testbed.namespaces import kill_inside

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_COMMAND_SIZE = 65536  # bytes; far above what a command takes

PRIORITY = -10
"""of nice(1), where allowed: packets shall not wait for the nodes that they come from"""


class Forwarder:
    """Reads, waits, and does what it is told."""

    def __init__(self, control: socket.socket, core: Core) -> None:
        self._control = control
        self._core = core
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._inodes: set[int] = set()
        self._commands: dict[str, Callable[..., object]] = {
            "set_access": core.set_access,
            "set_prefixes": core.set_prefixes,
            "set_up": core.set_up,
            "set_delay": core.set_delay,
            "traffic": core.traffic,
        }

    def run(self) -> None:
        """Goes on until the other side of the control socket is gone."""
        control, core = self._control.fileno(), self._core
        # An epoll counts milliseconds, select microseconds.
        waiting = [self._epoll.fileno()]
        while True:
            due = core.next_due()
            timeout = None if due is None else max(due - monotonic(), 0.0)
            select.select(waiting, (), (), timeout)
            for fd, _ in self._epoll.poll(0):
                if fd != control:
                    core.read(fd, monotonic())
                elif not self._carry_out():
                    kill_inside(self._inodes)
                    return
            core.deliver(monotonic())

    def _carry_out(self) -> bool:
        data, files, _, _ = socket.recv_fds(self._control, MAX_COMMAND_SIZE, 1)
        if not data:
            return False
        command: dict[str, Any] = json.loads(data)
        name = command.pop("command")
        if name == "add":
            self._inodes.update(command.pop("inodes"))
            access = AccessLink(*command.pop("access"))
            os.set_blocking(files[0], False)
            self._core.add(file=files[0], access=access, **command)
            self._epoll.register(files[0], select.EPOLLIN)
            answer: object = []
        else:
            answer = self._commands[name](**command) or []
        # Who asked may be gone before the answer; the next read says so.
        with contextlib.suppress(BrokenPipeError):
            self._control.send(json.dumps(answer).encode())
        return True


def main() -> None:
    file, hops, time_exceeded, seed = sys.argv[1:]
    # Control-C is for the process that started us; our end is its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    gc.disable()  # nothing here refers to itself, and a collection would delay packets
    core = Core(hops=int(hops), time_exceeded=time_exceeded == "True", seed=seed)
    Forwarder(socket.socket(fileno=int(file)), core).run()


if __name__ == "__main__":
    main()
