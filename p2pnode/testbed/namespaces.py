"""Network namespaces that live as long as this process holds them, and no longer.

    with Namespace("router") as router:
        router.ip("link set lo up")
        router.run("ping", "-c1", "127.0.0.1")

A namespace has no name in /run/netns: we hold an open file of it, and everybody else enters it
through /proc/<our pid>/fd.  So the kernel takes everything away when we close the file or die in
whatever way, nothing can be left over from an earlier run, and no mount is needed, which is what an
ordinary user's namespaces lack.

Rules: a thread that enters a namespace is back before anything else of that thread runs (`entered`
is synchronous); processes inside end with the namespace (`kill_inside`).
"""

import ctypes
import functools
import itertools
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from p2pnode.errors import P2PNodeError

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
"""of linux/sched.h; Python 3.11 does not name them"""

COMMAND_TIMEOUT = 10.0
"""seconds; far above what any of these commands takes"""

PROGRAM_FOLDERS = "/usr/sbin:/sbin"
"""Where ip and nft are; not in every user's PATH."""

_NETLINK_NETFILTER = 12
_CONNTRACK_FLUSH = struct.pack("=IHHIIBBH", 20, 0x102, 0x5, 1, 0, 0, 0, 0)
"""nlmsghdr and nfgenmsg: IPCTNL_MSG_CT_DELETE of ctnetlink with REQUEST and ACK, for no connection
in particular and so for all of every family."""

_ERRNO = struct.Struct("=i")
"""of nlmsgerr, after a nlmsghdr of 16 bytes; negative"""

_numbers = itertools.count()


class BedError(P2PNodeError):
    """A part of the test bed could not be made; its text is one sentence."""


class Namespace:
    """A network of its own, empty but for its loopback interface."""

    def __init__(self, role: str) -> None:
        """Makes it.  Raises BedError."""
        self.name = f"p2pnode-{os.getpid()}-{next(_numbers)}-{role}"
        """For people; the kernel does not know it."""
        self._fd = _new_namespace()
        self.ip("link set lo up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """How other programs of this user and machine find it, while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @property
    def inode(self) -> int:
        return os.fstat(self._fd).st_ino

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command that shall run in it; the command replaces this one."""
        return ("nsenter", f"--net={self.path}", "--")

    @contextmanager
    def entered(self) -> Generator[None, None, None]:
        """What this thread opens or starts within is in the namespace.  Do not await within."""
        home = _current()
        try:
            _enter(self._fd)
            yield
        finally:
            _enter(home)
            os.close(home)

    def popen(
        self, *command: str, env: Mapping[str, str] | None = None, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a process in it that gets no input.  For other wishes there is `prefix`."""
        with self.entered():
            return subprocess.Popen(  # noqa: S603 - the caller knows what it starts
                command, env=env, stdin=subprocess.DEVNULL, stdout=stdout
            )

    def run(self, *command: str, stdin: str = "") -> str:
        """Returns what the command prints.  Raises BedError with what it complains of."""
        with self.entered():
            return run(*command, stdin=stdin)

    def socket(
        self,
        family: socket.AddressFamily = socket.AF_INET,
        kind: socket.SocketKind = socket.SOCK_DGRAM,
    ) -> socket.socket:
        """Returns a socket that is in this namespace although this process is not."""
        with self.entered():
            return socket.socket(family, kind)

    def ip(self, *lines: str) -> None:
        """Runs commands of the program ip, in one process."""
        self.run("ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def set_rules(self, rules: str) -> None:
        """Replaces all of its nftables rules; what connections are known stays."""
        self.run("nft", "-f", "-", stdin=f"flush ruleset\n{rules}\n")

    def set_sysctls(self, values: Mapping[str, int]) -> None:
        """Writes settings below /proc/sys/net."""
        with self.entered():
            for name, value in values.items():
                path = Path("/proc/sys/net", *name.split("."))
                try:
                    path.write_text(str(value))
                except OSError as exc:
                    raise BedError(f"{path} cannot be set: {exc.strerror}") from exc

    def forget_connections(self) -> None:
        """Empties the table of connections, and with it all NAT mappings, as a reboot does."""
        with self.entered():
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        with netlink:
            netlink.settimeout(COMMAND_TIMEOUT)
            netlink.send(_CONNTRACK_FLUSH)
            answer = netlink.recv(4096)
        (error,) = _ERRNO.unpack_from(answer, 16)
        if error != 0:
            raise BedError(f"the kernel does not forget its connections: {os.strerror(-error)}")

    def close(self) -> None:
        """Lets go of it: the kernel removes it once no process is in it.  May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def kill_inside(inodes: Collection[int]) -> None:
    """Kills the processes that are in these namespaces."""
    for entry in os.listdir("/proc"):
        # They may end at any moment, or be somebody else's.
        with suppress(OSError):
            if entry.isdecimal() and os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                process = os.pidfd_open(int(entry))
                try:
                    # The number may have gone to another process before we had hold of this one.
                    if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                finally:
                    os.close(process)


def run(*command: str, stdin: str = "") -> str:
    """Returns what the command prints.  Raises BedError with what it complains of."""
    try:
        done = subprocess.run(  # noqa: S603 - ip and nft, with arguments of our own
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BedError(f"`{' '.join(command)}` failed: {exc}") from exc
    if done.returncode != 0:
        raise BedError(f"`{' '.join(command)}` failed: {_one_line(done.stderr)}")
    return done.stdout


def unshare(flags: int) -> None:
    """Gives this thread (and with CLONE_NEWUSER, this process) namespaces of its own."""
    if _libc().unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def search_path() -> str:
    """Returns where the programs ip and nft are looked for."""
    return f"{os.environ.get('PATH', os.defpath)}:{PROGRAM_FOLDERS}"


def close_all(namespaces: Sequence[Namespace]) -> None:
    """Removes namespaces with all that runs in them."""
    kill_inside({namespace.inode for namespace in namespaces})
    for namespace in namespaces:
        namespace.close()


def _new_namespace() -> int:
    home = _current()
    try:
        unshare(CLONE_NEWNET)
    except OSError as exc:
        os.close(home)
        raise BedError(f"a network namespace cannot be made: {exc.strerror}") from exc
    try:
        return _current()
    finally:
        _enter(home)
        os.close(home)


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(fd: int) -> None:
    if _libc().setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": search_path(), "LC_ALL": "C"}


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "it does not say why"
