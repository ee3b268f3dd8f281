"""Samples as JSON lines; CPU and memory of processes.  Linux only."""

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

CHUNK = 64 * 1024
"""bytes of one write"""
SECONDS = 5.0
"""length of a rate measurement"""
CONNECTS = 50
"""samples of a connect"""
PINGS = 1000
"""samples of a 32-byte echo"""
IDLE = 200
"""idle connections held for the memory measure"""

_CPUCLOCK_SCHED = 2
"""which of a process's clocks: user and system time of all its threads (Linux, posix-timers.h)"""


def cpu_seconds(pid: int) -> float:
    """Returns user and system time used so far, to a microsecond; of other processes too."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)  # what clock_getcpuclockid(3) gives


def rss_kib(pid: int) -> int:
    """Returns the resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise LookupError("no VmRSS")


def announce(**info: object) -> None:
    print(json.dumps({"pid": os.getpid(), **info}), flush=True)


def sample(value: float, unit: str, **more: object) -> None:
    print(json.dumps({"value": round(value, 4), "unit": unit, **more}), flush=True)


def quantiles(times: list[float], unit: str, scale: float, **more: object) -> None:
    """Prints the median as the value, with the 5 % and 95 % quantiles beside it."""
    times = sorted(t * scale for t in times)
    n = len(times)
    low, high = round(times[n // 20], 4), round(times[n - 1 - n // 20], 4)
    sample(statistics.median(times), unit, n=n, p5=low, p95=high, **more)


class Timed:
    """Wall time and CPU of this process and others during a `with`."""

    def __init__(self, *pids: int) -> None:
        self._pids = (os.getpid(), *pids)
        self.wall = 0.0
        self.cpu: list[float] = []

    def __enter__(self) -> "Timed":
        self._before = [cpu_seconds(pid) for pid in self._pids]
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._start
        self.cpu = [cpu_seconds(p) - b for p, b in zip(self._pids, self._before, strict=True)]

    def micros_each(self, count: int) -> list[int]:
        """CPU of each process for one of `count` calls, in microseconds."""
        return [round(1e6 * used / max(count, 1)) for used in self.cpu]

    def percent(self) -> list[int]:
        """CPU of each process; 100 is one core."""
        return [round(100 * used / self.wall) for used in self.cpu]


def raise_file_limit() -> None:
    """Two hundred nodes have four hundred sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def option(name: str, default: str) -> str:
    """Returns the value behind --name on the command line."""
    flag = "--" + name
    return sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv else default
