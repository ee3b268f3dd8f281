"""How much memory a process may have."""

from pathlib import Path

import pytest

from p2pnode.io.machine_memory import machine_memory


@pytest.mark.spec("RESOURCES-2")
def test_a_container_has_what_its_cgroup_says(tmp_path: Path) -> None:
    whole = machine_memory(())
    assert whole > 1 << 20
    limit = tmp_path / "memory.max"
    limit.write_text(f"{1 << 26}\n")
    assert machine_memory((tmp_path / "none", limit)) == 1 << 26
    for text in ("max\n", str(whole * 2), "", "-1"):
        limit.write_text(text)
        assert machine_memory((limit,)) == whole
