"""What a failing simulation leaves behind: its seed, a picture and a capture.

    with FailureReport(world, trace_dir):
        world.run_until(...)
        assert ...

An exception that leaves the block gets notes, which pytest and the interpreter print.
"""

import re
from pathlib import Path
from types import TracebackType

from p2pnode.netsim.mermaid import Describe, describe_size, write_mermaid
from p2pnode.netsim.pcap import write_pcap
from p2pnode.netsim.trace import Kind
from p2pnode.netsim.world import World


class FailureReport:
    """A context manager that tells of failures and hides none."""

    def __init__(
        self,
        world: World,
        trace_dir: Path | None = None,
        *,
        name: str = "netsim",
        describe: Describe = describe_size,
    ) -> None:
        """With a folder (it is made where it is missing) both files are written into it."""
        self._world = world
        self._trace_dir = trace_dir
        self._stem = re.sub(r"[^\w.-]+", "_", f"{name}-{world.seed}")
        self._describe = describe

    def __enter__(self) -> World:
        return self._world

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            return
        world, counts = self._world, self._world.trace.counts
        exc.add_note(
            f"netsim: seed {world.seed!r}, virtual time {world.now:.6f} s, "
            + ", ".join(f"{counts[kind]} {kind}" for kind in Kind)
        )
        for (where, reason), count in world.trace.drops.items():
            exc.add_note(f"netsim: {where} dropped {count}: {reason}")
        if self._trace_dir is None:
            return
        try:
            self._trace_dir.mkdir(parents=True, exist_ok=True)
            for suffix in (".mmd", ".pcap"):
                path = self._trace_dir / (self._stem + suffix)
                if suffix == ".mmd":
                    write_mermaid(world.trace, path, self._describe)
                else:
                    write_pcap(world.trace, path)
                exc.add_note(f"netsim: wrote {path}")
        except OSError as error:  # must not hide the failure that is being reported
            exc.add_note(f"netsim: cannot write the trace: {error}")
