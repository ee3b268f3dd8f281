"""Where a siege takes place: three networks and a router between them, in namespaces.

    relay 11.22.33.1 --- core --- honest 12.0.0.0/8
                          |
                      attackers 13.0.0.0/8

A host has all addresses of its network (a local route), so that many networks fit in a process.
Honest peers are behind a stateful firewall and cannot reach each other directly: what they say to
each other goes through the relay.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.run import BenchError
from tests.support.namespaces import Namespace, Network, Port

RELAY_IP = "11.22.33.1"
HONEST_NET, ATTACKERS_NET = "12", "13"
RELAY_CORE, OTHER_CORE = 0, -1
"""The relay has a processor core to itself; everything else shares the last one."""
PRIORITY = -10
"""of all processes, where that is allowed: on a busy machine it would measure the others"""
_ROOT = Path(__file__).resolve().parents[2]
_FIREWALL = """
    table ip filter {
        chain input {
            type filter hook input priority filter
            meta l4proto udp iifname lo drop
            ct state established,related accept
            meta l4proto udp drop
        }
    }"""


class Place(NamedTuple):
    """The namespaces of all that take part."""

    relay: Namespace
    honest: Namespace
    attackers: Namespace


def make_place(network: Network) -> Place:
    """Raises NamespaceError."""
    core = network.namespace("core")
    core.forward()
    place = Place(*(network.namespace(name) for name in Place._fields))
    network.join(Port(place.relay, (f"{RELAY_IP}/24",)), Port(core, ("11.22.33.254/24",), "relay"))
    place.relay.add_route("default", "11.22.33.254")
    for number, (namespace, net) in enumerate(
        ((place.honest, HONEST_NET), (place.attackers, ATTACKERS_NET)), 1
    ):
        near, far = f"10.255.{number}.2", f"10.255.{number}.1"
        network.join(Port(namespace, (f"{near}/24",)), Port(core, (f"{far}/24",), f"net{number}"))
        namespace.ip("route", "add", "local", f"{net}.0.0.0/8", "dev", "lo")
        namespace.add_route("default", far)
        core.add_route(f"{net}.0.0.0/8", near)
    place.honest.set_rules(_FIREWALL)
    return place


class Program:
    """A running process that prints JSON lines and is told words."""

    def __init__(self, name: str, running: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.pid = running.pid
        self._running = running
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # Read at once: a program whose pipe is full stands still.
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self) -> None:
        assert self._running.stdout is not None
        with self._running.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(b"")

    def read(self, seconds: float, **wanted: object) -> dict[str, Any]:
        """Returns the next object that has these fields.  Raises BenchError."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise BenchError(f"nothing comes from {self.name}") from None
            if not line:
                raise BenchError(f"{self.name} ended without a result")
            found: dict[str, Any] = json.loads(line)
            if wanted.items() <= found.items():
                return found

    def tell(self, word: str) -> None:
        assert self._running.stdin is not None
        self._running.stdin.write(f"{word}\n".encode())
        self._running.stdin.flush()


@contextmanager
def program(
    name: str, namespace: Namespace, command: Sequence[str], core: int
) -> Generator[Program, None, None]:
    """Yields a running Python program, pinned to a core; it is gone afterwards."""
    running = subprocess.Popen(
        (*namespace.prefix, sys.executable, *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        start_new_session=True,  # Ctrl-C reaches this process only, which then ends the others
    )
    try:
        _pin(running.pid, core)
        yield Program(name, running)
    finally:
        running.kill()
        running.wait()
        assert running.stdin is not None
        running.stdin.close()


def _pin(pid: int, core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[core]})
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, PRIORITY)
        # Where sessions are scheduled as groups, a process's own priority counts within its own.
        Path(f"/proc/{pid}/autogroup").write_text(str(PRIORITY))
