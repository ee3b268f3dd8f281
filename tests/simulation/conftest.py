"""A failing simulation tells its seed; with P2PNODE_TRACE_DIR set it also leaves a picture and a
capture of its packets there (p2pnode/netsim/report.py)."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.netsim.report import FailureReport
from p2pnode.netsim.world import World


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    worlds: list[World] = []
    make = World.__init__

    def make_and_note(self: World, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        worlds.append(self)

    folder = os.environ.get("P2PNODE_TRACE_DIR")
    trace_dir = Path(folder) if folder else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "__init__", make_and_note)
        try:
            return (yield)
        except BaseException as failure:
            for i, world in enumerate(worlds):
                name = item.name if i == 0 else f"{item.name}-{i}"
                FailureReport(world, trace_dir, name=name).__exit__(type(failure), failure, None)
            raise
