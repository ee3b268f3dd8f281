"""The program that the README shows, run as it stands there."""

import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def examples() -> list[str]:
    blocks = README.read_text(encoding="utf-8").split("```python\n")[1:]
    return [block.partition("```")[0] for block in blocks if "open_node" in block]


def test_the_readme_shows_one_program_and_it_runs() -> None:
    (program,) = examples()

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "b'hello'\n", "")
