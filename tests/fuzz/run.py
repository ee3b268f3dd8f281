"""Runs one fuzz target under atheris (`pip install p2pnode[fuzz]`), with libFuzzer's options.

python -m tests.fuzz.run TARGET [-max_total_time=60] [CORPUS_FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["p2pnode"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def main(argv: list[str]) -> None:
    if len(argv) < 2 or argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz.run TARGET [options]; one of {', '.join(TARGETS)}")
    name = argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS[name]):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([argv[0], *argv[2:], folder], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
