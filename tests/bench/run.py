"""Measures this node against itself, each time in fresh processes, or against another library.

    python -m tests.bench.run [MEASURE ...] [--transport T] [--with go] [--veth] [-n N] [--json]

Server and client are two processes on this machine; what each measure times:

    bulk                  one stream, client to server, from the first write to the server's answer
                          to the last byte
    receive               the same the other way, from the first byte that comes to the last
    connect               dial, handshake, open a stream, one byte echoed; median of 50
    rtt                   32 bytes echoed on an open stream; median of 1000
    hs1, hs32             dials finished in a second, 1 or 32 in flight, over 5 s
    streams, streams32    streams opened, echoed and closed in a second, 1 or 32 in flight, over 5 s
    mem                   growth of the server's memory per idle connection, 200 of them

The path is loopback, or with --veth a pair of network namespaces joined by a link with an MTU of
1500 bytes, which are made for the run and removed after it, also after Ctrl-C.  That needs root.
The link takes 64-kB batches of segments as a network card with offloads does; with --no-offload the
kernel splits them first, and the receiver gets every packet by itself.

--with go, rust, js or py has a peer on that library as the server, from the folder `P2PNODE_PEERS`
(specs/interop.md); that one hashes what it takes.

CPU is that of the whole process beside each figure, client and server, in percent of a core; CPU
seconds per GB vary less from run to run than MB/s do.  `loop` is the time of a fixed Python loop
before each sample: where it moves, the machine was busy with something else.  Two programs are
compared in turns, not by figures of different hours.
"""

import argparse
import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.interop.peers.toolchains import (
    TOOLCHAINS,
    BuildFailed,
    Missing,
    built,
    cache_folder,
)
from tests.support.namespaces import NamespaceError, Network, Port, missing_rights

MEASURES = ("bulk", "receive", "connect", "rtt", "hs1", "hs32", "streams", "streams32", "mem")
OF_OURS = ("hs1", "hs32", "mem")
"""Measures that say something of the server."""
TRANSPORTS = ("noise-udp", "quic-v1", "tcp")
REPEATS = 5
START_TIMEOUT = 30.0
"""seconds until a server must have announced itself"""
SAMPLE_TIMEOUT = 180.0
"""seconds for one sample; the longest takes about ten on an idle machine"""
STOP_TIMEOUT = 5.0
"""seconds between asking a process to end and ending it"""
VETH_MTU = 1500  # bytes
SERVER_IP, CLIENT_IP = "11.0.0.1", "11.0.0.2"
"""Inside the namespaces only."""

_ROOT = Path(__file__).resolve().parents[2]
_PEER = (sys.executable, "-m", "tests.bench.peer")

Sample = dict[str, Any]


class BenchError(Exception):
    """A run cannot go on; its text is one sentence."""


class Place(NamedTuple):
    """Where the two processes run."""

    name: str
    server_prefix: tuple[str, ...] = ()
    client_prefix: tuple[str, ...] = ()
    server_ip: str = "127.0.0.1"


LOOPBACK = Place("loopback")


class Served(NamedTuple):
    """What the server is."""

    transport: str = TRANSPORTS[0]
    library: str | None = None
    """None for our own."""

    def command(self, ip: str) -> tuple[str, ...]:
        """Returns what starts it.  Raises BenchError where there is no such peer."""
        flags = ("--transport", self.transport)
        if self.library is None:
            return (*_PEER, "server", *flags, "--listen", ip)
        try:
            return (*built(self.library, cache_folder()), *flags, "--ip", ip)
        except (Missing, BuildFailed) as exc:
            raise BenchError(str(exc)) from exc

    def __str__(self) -> str:
        peer = "" if self.library is None else f", with {self.library}-libp2p"
        return f"{self.transport}{peer}"


@contextmanager
def veth_place(*, offload: bool) -> Generator[Place, None, None]:
    """Yields two namespaces with a link between them.  Raises BenchError, NamespaceError."""
    reason = missing_rights()
    if reason is not None:
        raise BenchError(reason)
    with Network() as network:
        server, client = network.namespace("server"), network.namespace("client")
        one, other = Port(server, (f"{SERVER_IP}/24",)), Port(client, (f"{CLIENT_IP}/24",))
        network.join(one, other, mtu=VETH_MTU)
        if not offload:
            for port in (one, other):
                port.namespace.ip("link", "set", "dev", port.name, "gso_max_segs", "1")
        name = f"veth, MTU {VETH_MTU}" + ("" if offload else ", no offload")
        yield Place(name, server.prefix, client.prefix, SERVER_IP)


def main() -> int:
    options = _parse(sys.argv[1:])
    try:
        with ExitStack() as stack:
            place = LOOPBACK
            if options.veth or options.no_offload:
                place = stack.enter_context(veth_place(offload=not options.no_offload))
            for measure in options.measures or MEASURES:
                _run(measure, place, options)
    except (BenchError, NamespaceError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("measures", metavar="MEASURE", nargs="*", help="which ones; all if none")
    parser.add_argument("--transport", choices=TRANSPORTS, default=TRANSPORTS[0])
    parser.add_argument("--with", dest="library", choices=TOOLCHAINS, help="whose peer serves")
    parser.add_argument("--veth", action="store_true", help="two namespaces with an MTU of 1500")
    parser.add_argument("--no-offload", action="store_true", help="as --veth, packet by packet")
    parser.add_argument("-n", dest="repeats", type=int, default=REPEATS, help="samples of each")
    parser.add_argument("--mb", type=int, default=256, help="MiB of a bulk transfer")
    parser.add_argument("--json", action="store_true", help="one JSON object a sample and a median")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.measures if name not in MEASURES]
    if unknown:
        parser.error(f"no measure {unknown[0]!r}; there are {', '.join(MEASURES)}")
    if options.library and not options.measures:
        options.measures = [name for name in MEASURES if name not in OF_OURS]
    if options.library and (ours := set(options.measures) & set(OF_OURS)):
        parser.error(f"{', '.join(sorted(ours))} measures the server, and that would be another's")
    if options.repeats < 1 or options.mb < 1:
        parser.error("less than one makes no sense here")
    return options


def _run(measure: str, place: Place, options: argparse.Namespace) -> None:
    """Takes the samples of one measure and prints their summary.  Raises BenchError."""
    extra = ("--mb", str(options.mb)) if measure in ("bulk", "receive") else ()
    served = Served(options.transport, options.library)
    where = f"{served}, {place.name}"
    samples: list[Sample] = []
    for _ in range(options.repeats):
        loop_ms = calibrate()
        sample = {**take_sample(measure, place, extra, served), "loop_ms": loop_ms}
        samples.append(sample)
        if options.json:
            print(json.dumps({"measure": measure, "place": where, **sample}), flush=True)
    summary = summarise(measure, where, samples)
    print(json.dumps(summary) if options.json else summary_text(summary), flush=True)


def take_sample(measure: str, place: Place, extra: Sequence[str], served: Served) -> Sample:
    """Returns what a fresh client measures at a fresh server.  Raises BenchError."""
    deadline = time.monotonic() + SAMPLE_TIMEOUT
    with _process((*place.server_prefix, *served.command(place.server_ip))) as server:
        first = _read_object(server, time.monotonic() + START_TIMEOUT, "the server")
        info = first if served.library is None else of_judge(first, server.pid)
        command = (*place.client_prefix, *_PEER, "client", measure, json.dumps(info), *extra)
        with _process(command) as client:
            return _read_object(client, deadline, f"the client of {measure}")


def of_judge(first: Sample, pid: int) -> Sample:
    """Returns the first line of a peer on another library as our own servers have it."""
    return {"pid": pid, "addr": first["addrs"][0], "protocols": "/p2pnode/judge/"}


@contextmanager
def _process(command: Sequence[str]) -> Generator[subprocess.Popen[bytes], None, None]:
    """Yields a running process; it is gone afterwards."""
    # In a session of its own, so that Ctrl-C reaches only this process, which then ends the others.
    # Peers on other libraries end with their standard input.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        start_new_session=True,
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def _read_object(process: subprocess.Popen[bytes], deadline: float, who: str) -> Sample:
    """Returns the object in the first line that the process prints.  Raises BenchError."""
    assert process.stdout is not None
    pipe, line = process.stdout.fileno(), b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise BenchError(f"{who} has not answered in time")
        data = os.read(pipe, 65536)
        if not data:
            raise BenchError(f"{who} ended without a result")
        line += data
    found: Sample = json.loads(line)
    return found


def calibrate() -> float:
    """Returns the milliseconds of a fixed Python loop."""
    start = time.perf_counter()
    sum(range(1_000_000))
    return round((time.perf_counter() - start) * 1e3, 1)


def summarise(measure: str, where: str, samples: Sequence[Sample]) -> Sample:
    """Returns median and spread, and the CPU figures of the sample in the middle."""
    ordered = sorted(samples, key=lambda sample: float(sample["value"]))
    middle = ordered[len(ordered) // 2]
    summary: Sample = {
        "measure": measure,
        "place": where,
        "runs": len(samples),
        "median": round(statistics.median(float(sample["value"]) for sample in samples), 3),
        "min": ordered[0]["value"],
        "max": ordered[-1]["value"],
        "unit": middle["unit"],
        "loop_ms": [sample["loop_ms"] for sample in samples],
    }
    return summary | {
        key: middle[key]
        for key in (
            "cpu_pct",
            "cpu_s_per_GB",
            "own_cpu_s_per_GB",
            "cpu_us",
            "p5",
            "p95",
            "client_side",
        )
        if key in middle
    }


def summary_text(summary: Sample) -> str:
    text = (
        f"{summary['measure']:<10} {summary['median']:>10} {summary['unit']:<9}"
        f"{summary['min']}..{summary['max']} in {summary['runs']} runs"
    )
    if "cpu_pct" in summary:
        client, server = summary["cpu_pct"]
        text += f"; CPU {client} % client, {server} % server"
    if "cpu_s_per_GB" in summary:
        text += f", {summary['cpu_s_per_GB']} s/GB, of that {summary['own_cpu_s_per_GB']} client"
    if "cpu_us" in summary:
        client, server = summary["cpu_us"]
        text += f", {client} and {server} us each"
    if "client_side" in summary:
        text += f"; {summary['client_side']} KiB at the client, with a node"
    loops = summary["loop_ms"]
    return f"{text}; loop {min(loops)}..{max(loops)} ms ({summary['place']})"


if __name__ == "__main__":
    sys.exit(main())
