"""Builds the peers, once for each state of their sources and lock files, into a cache folder.

    P2PNODE_PEERS=FOLDER python -m tests.interop.peers.toolchains

builds all that are not there, and says which this machine has no toolchain for.  Without the
variable nothing is built, tests included, for that takes ten minutes of a core.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.support.file_lock import locked

HERE = Path(__file__).parent
FOLDER_VARIABLE = "P2PNODE_PEERS"

BUILD_TIMEOUT = 30 * 60
"""seconds; the one in Rust takes 12 minutes of one core"""

Command = tuple[str, ...]


class Toolchain(NamedTuple):
    """How one peer is built."""

    tools: tuple[str, ...]
    """Programs that have to be there."""
    locks: tuple[str, ...]
    """Files that say which versions: where they are the same, what was fetched is kept."""
    build: Callable[[Path], Iterable[Command]]
    """Commands that build it in a folder that holds a copy of the sources."""
    start: Callable[[Path], Command]
    variables: Mapping[str, str] = MappingProxyType({})


TOOLCHAINS: Mapping[str, Toolchain] = MappingProxyType(
    {
        "go": Toolchain(
            tools=("go",),
            locks=("go.mod", "go.sum"),
            build=lambda _: [("go", "build", "-mod=readonly", "-trimpath", "-o", "peer", ".")],
            start=lambda folder: (str(folder / "peer"),),
        ),
        "rust": Toolchain(
            tools=("cargo",),
            locks=("Cargo.toml", "Cargo.lock"),
            build=lambda _: [("cargo", "build", "--release", "--locked")],
            start=lambda folder: (str(folder / "target/release/peer"),),
            variables={"CARGO_TARGET_DIR": "target"},
        ),
        "js": Toolchain(
            tools=("npm",),
            locks=("package.json", "package-lock.json"),
            # Without --force npm refuses what needs a newer Node than its own.
            build=lambda _: [("npm", "ci", "--force", "--ignore-scripts", "--no-audit")],
            start=lambda folder: (
                str(next(folder.glob("node_modules/node-linux-*/bin/node"))),
                str(folder / "peer.mjs"),
            ),
        ),
        "py": Toolchain(
            tools=(),
            locks=("requirements.txt",),
            build=lambda folder: [
                (sys.executable, "-m", "venv", "venv"),
                (
                    str(folder / "venv/bin/python"),
                    *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                    *("--require-hashes", "--requirement", "requirements.txt"),
                ),
            ],
            start=lambda folder: (str(folder / "venv/bin/python"), str(folder / "peer.py")),
        ),
    }
)


class Missing(Exception):
    """This machine has no toolchain for a peer."""


class BuildFailed(Exception):
    """There is a toolchain, and no peer came out of it."""


def cache_folder() -> Path:
    """Returns the folder that is named.  Raises Missing where none is."""
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        raise Missing(f"{FOLDER_VARIABLE} names no folder to build the peers in")
    return Path(named)


def built(name: str, cache: Path) -> Command:
    """Returns the command that starts a peer, which it builds first where that was not done yet.

    Raises Missing or BuildFailed. Several processes may call it at the same time: one builds.
    """
    toolchain = TOOLCHAINS[name]
    if sys.platform != "linux":
        raise Missing("the lock files of the peers are for Linux")
    for tool in toolchain.tools:
        if shutil.which(tool) is None:
            raise Missing(f"no {tool}: the peer on {name}-libp2p cannot be built")
    folder = cache / f"{name}-{locks_hash(name)}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if not is_current(name, folder):
            build(name, folder)
    return toolchain.start(folder)


def build(name: str, folder: Path) -> None:
    stamp(folder).unlink(missing_ok=True)
    copy_sources(name, folder)
    toolchain = TOOLCHAINS[name]
    for command in toolchain.build(folder):
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **toolchain.variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=BUILD_TIMEOUT,
            )
        except subprocess.TimeoutExpired as expired:
            raise BuildFailed(f"{command} took longer than {BUILD_TIMEOUT} s") from expired
        if done.returncode != 0:
            raise BuildFailed(f"{command} failed:\n{done.stdout[-8_000:]}")
    stamp(folder).write_text(sources_hash(name), encoding="ascii")


def copy_sources(name: str, folder: Path) -> None:
    """Puts the sources into the folder, and takes out what is none any more."""
    copied = folder / "copied.txt"
    if copied.exists():
        for line in copied.read_text(encoding="utf-8").splitlines():
            (folder / line).unlink(missing_ok=True)
    names = [path.relative_to(HERE / name) for path in sources(name)]
    for path in names:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HERE / name / path, folder / path)
    copied.write_text("".join(f"{path}\n" for path in names), encoding="utf-8")


def is_current(name: str, folder: Path) -> bool:
    path = stamp(folder)
    return path.exists() and path.read_text(encoding="ascii") == sources_hash(name)


def stamp(folder: Path) -> Path:
    return folder / "built-from.txt"


def sources(name: str) -> list[Path]:
    return sorted(path for path in (HERE / name).rglob("*") if path.is_file() and not hidden(path))


def hidden(path: Path) -> bool:
    """Is this of an editor, or what a build in place left behind?"""
    generated = ("target", "node_modules", "__pycache__")
    return any(part.startswith(".") or part in generated for part in path.relative_to(HERE).parts)


def locks_hash(name: str) -> str:
    """A folder's name: of what is fetched, and for which Python if that matters."""
    digest = hash_of(HERE / name / lock for lock in TOOLCHAINS[name].locks)[:16]
    return f"{digest}-{sys.implementation.cache_tag}" if name == "py" else digest


def sources_hash(name: str) -> str:
    return hash_of(sources(name))


def hash_of(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    failures = 0
    for name in TOOLCHAINS:
        began = time.monotonic()
        try:
            built(name, cache_folder())
            said = "is there"
        except Missing as reason:
            said = f"is missing: {reason}"
        except BuildFailed as reason:
            said, failures = f"failed: {reason}", failures + 1
        print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
