"""The folder in which a node keeps what must outlive it.

    key           the identity's private key, libp2p's encoding; readable by its owner only
    port          the UDP port that was chosen once, in digits; TCP's as well, where there is no
    tcp-port      the TCP port, where another program had the one of that number
    reset-secret  32 bytes: what stateless resets are made of, also after a crash
    lock          held by the node that uses the folder
    control.sock  while a node runs

Rules: files appear and change as a whole or not at all; secrets are never readable by others, and
nobody else can write to the folder; its trouble is one sentence that says what to do.  Reading the
key needs no lock, so that `p2pnode id` works beside a running node.
"""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from random import Random

import platformdirs

from p2pnode.entropy import Entropy
from p2pnode.errors import DataFolderError, KeyFileError
from p2pnode.identity.keys import MAX_PRIVATE_KEY_SIZE, PrivateKey, decode_private_key
from p2pnode.io.control.path import control_socket_path
from p2pnode.io.folder.atomic_file import create_file, read_small_file, replace_file
from p2pnode.io.folder.lock import FolderLock
from p2pnode.io.folder.ownership import folder_trouble, secret_trouble

RESET_SECRET_SIZE = 32  # bytes; the key of an HMAC-SHA256

FIRST_PORT, LAST_PORT = 10_000, 32_767
"""Where the port is chosen: above what well-known services use and below the ranges from which
systems lend ports to other programs (from 32768 on Linux, 49152 elsewhere), or a node that was
stopped might find its port lent.  At random, so that nodes behind one router do not collide."""

PORT_ATTEMPTS = 32  # tries; chosen: even a machine with half of its ports taken has one left

_MAX_PORT_FILE_SIZE = 16  # bytes


def default_data_folder() -> Path:
    """Returns the platform's place for this user's p2pnode data; it need not be there yet."""
    return platformdirs.user_data_path("p2pnode", appauthor=False)


class DataFolder:
    """One folder's files.  Reading and writing it blocks for a disk's time."""

    def __init__(self, path: Path) -> None:
        """Makes the folder, if it is not there.

        Raises DataFolderError, also where others own it or can write to it.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            trouble = folder_trouble(path)
        except FileExistsError as exc:
            raise DataFolderError(f"cannot use {path}: it is not a folder") from exc
        except OSError as exc:
            raise DataFolderError(f"cannot use {path}: {_reason(exc)}") from exc
        if trouble is not None:
            raise DataFolderError(f"cannot use {path}: {trouble}")

    @property
    def key_file(self) -> Path:
        return self.path / "key"

    @property
    def control_socket(self) -> Path | None:
        """Where the node that uses the folder listens for commands; None: nowhere."""
        return control_socket_path(self.path)

    @contextmanager
    def locked(self) -> Generator[None, None, None]:
        """Keeps other nodes from using the folder.  Raises DataFolderInUse where one does."""
        lock = FolderLock(self.path / "lock")
        try:
            yield
        finally:
            lock.release()

    def load_or_create_key(self, entropy: Entropy) -> PrivateKey:
        """Returns the folder's key, which is made when there is none.  Raises KeyFileError.

        Of several programs that do this at once, all get the same key.
        """
        if not os.path.lexists(self.key_file):
            key = PrivateKey.generate(entropy)
            try:
                create_file(self.key_file, key.encode_private_key())
            except FileExistsError:
                pass  # somebody was faster: theirs counts
            except OSError as exc:
                raise KeyFileError(
                    f"cannot write the key file {self.key_file}: {_reason(exc)}"
                ) from exc
        return load_key(self.key_file)

    def load_or_create_reset_secret(self, entropy: Entropy) -> bytes:
        """Returns the secret of stateless resets.  Raises DataFolderError.  Needs the lock."""
        path = self.path / "reset-secret"
        try:
            secret, trouble = _read_secret(path, RESET_SECRET_SIZE)
        except FileNotFoundError:
            secret, trouble = b"", None
        except OSError as exc:
            raise DataFolderError(f"cannot read {path}: {_reason(exc)}") from exc
        if trouble is not None:
            raise DataFolderError(f"cannot use {path}: {trouble}")
        if len(secret) != RESET_SECRET_SIZE:  # losing it only makes peers wait for a timeout
            secret = entropy(RESET_SECRET_SIZE)
            self._replace(path, secret)
        return secret

    def load_or_choose_port(self, rng: Random) -> int:
        """Returns the port that this folder's node listens on.  Raises DataFolderError.

        It is chosen among the free ones the first time, and the same from then on.  Needs the lock.
        """
        port = self._read_port("port")
        if port is None:
            port = choose_free_port(rng)
            self._replace(self.path / "port", b"%d\n" % port)
        return port

    def tcp_port(self) -> int | None:
        """Returns the TCP port where it is another than UDP's.  Raises DataFolderError."""
        return self._read_port("tcp-port")

    def keep_tcp_port(self, port: int) -> None:
        """Listens there from now on.  Raises DataFolderError.  Needs the lock."""
        self._replace(self.path / "tcp-port", b"%d\n" % port)

    def _read_port(self, name: str) -> int | None:
        path = self.path / name
        try:
            text = read_small_file(path, _MAX_PORT_FILE_SIZE).strip()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DataFolderError(f"cannot read {path}: {_reason(exc)}") from exc
        return int(text) if text.isdigit() and 0 < int(text) < 65536 else None

    def _replace(self, path: Path, content: bytes) -> None:
        try:
            replace_file(path, content)
        except OSError as exc:
            raise DataFolderError(f"cannot write {path}: {_reason(exc)}") from exc


def load_key(path: Path) -> PrivateKey:
    """Returns the key of a key file.  Raises KeyFileError, with the file's name in its sentence."""
    try:
        content, trouble = _read_secret(path, MAX_PRIVATE_KEY_SIZE)
    except OSError as exc:
        raise KeyFileError(f"cannot read the key file {path}: {_reason(exc)}") from exc
    if trouble is not None:
        raise KeyFileError(f"cannot use the key file {path}: {trouble}")
    try:
        return decode_private_key(content)
    except KeyFileError as exc:
        raise KeyFileError(f"{path}: {exc}") from exc


def choose_free_port(rng: Random) -> int:
    """Returns a port that nothing on this machine uses now: of UDP and TCP, IPv4 and IPv6."""
    for _ in range(PORT_ATTEMPTS):
        port = rng.randint(FIRST_PORT, LAST_PORT)
        if _is_free(port):
            return port
    raise DataFolderError(
        f"found no free port between {FIRST_PORT} and {LAST_PORT}; choose one with --listen"
    )


def _is_free(port: int) -> bool:
    families = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))  # noqa: S104
    for (family, wildcard), kind in product(families, (socket.SOCK_DGRAM, socket.SOCK_STREAM)):
        try:
            sock = socket.socket(family, kind)
        except OSError:  # a machine without that family
            continue
        with sock:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((wildcard, port))
            except OSError:
                return False
    return True


def _read_secret(path: Path, max_size: int) -> tuple[bytes, str | None]:
    """Returns the content, at most one byte more than `max_size`, and what makes it no secret."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        return file.read(max_size + 1), secret_trouble(path, status)


def _reason(exc: OSError) -> str:
    return exc.strerror or str(exc)
