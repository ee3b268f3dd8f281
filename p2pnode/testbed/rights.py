"""Whether this process may make a test bed, and how an ordinary user gets that right.

Root may.  Anybody else may where the kernel lets ordinary users make user namespaces: in one of his
own a process has all rights over the networks that it makes there, and none over those outside.

Rule: nothing is concluded from user ids or settings; what is needed is tried.
"""

import os
import shutil
import sys
from pathlib import Path

from p2pnode.testbed.namespaces import (
    CLONE_NEWNET,
    CLONE_NEWUSER,
    BedError,
    Namespace,
    run,
    search_path,
    unshare,
)
from p2pnode.testbed.tun import open_tun

PROGRAMS = ("ip", "nft", "nsenter")

_has_moved = False
"""Whether `gain_rights` put this process into a user namespace; there is no way back."""

_TRIAL_RULES = """
    table ip trial {
        map inside { type inet_service : ipv4_addr; flags dynamic,timeout; }
        chain postrouting {
            type nat hook postrouting priority srcnat
            oifname "wan" masquerade fully-random
        }
    }
"""
"""What the kinds of NAT need of the kernel."""


def missing_rights() -> str | None:
    """Returns in one sentence why this process cannot make a test bed, or None where it can."""
    missing = _missing_programs()
    return missing if missing is not None else _trial()


def gain_rights() -> str | None:
    """Does what it takes to make a test bed; returns in one sentence why it cannot, or None.

    Where its rights do not suffice, the process moves into a user namespace and a network of its
    own, for good: it then counts as root there, reaches nothing outside, and a shell gets in by
    `shell_prefix`.  Call it before anything starts a thread, for the kernel moves no threads.
    """
    global _has_moved
    reason = missing_rights()
    if reason is None or _missing_programs() is not None:
        return reason
    user, group = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
    except OSError as exc:
        return f"{reason}, and a user namespace cannot be made: {exc.strerror}"
    _has_moved = True
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        run("ip", "link", "set", "lo", "up")
    except (OSError, BedError) as exc:
        return f"a user namespace was made, but cannot be used: {exc}"
    return missing_rights()


def shell_prefix(namespace: Namespace) -> tuple[str, ...]:
    """Returns what to put before a command to run it in the namespace, from any shell."""
    user: tuple[str, ...] = ()
    if _has_moved:
        user = (f"--user=/proc/{os.getpid()}/ns/user", "--preserve-credentials")
    return ("nsenter", *user, f"--net={namespace.path}", "--")


def _missing_programs() -> str | None:
    if sys.platform != "linux":
        return "network namespaces need Linux"
    missing = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    return f"network namespaces need the program {missing[0]}" if missing else None


def _trial() -> str | None:
    """Makes one of everything."""
    try:
        with Namespace("trial") as router, Namespace("trial") as host:
            os.close(open_tun(router, "wan"))
            router.ip(f"link add lan type veth peer name eth0 netns {host.path}")
            router.set_sysctls({"ipv4.ip_forward": 1})
            router.set_rules(_TRIAL_RULES)
    except BedError as exc:
        return str(exc)
    return None
