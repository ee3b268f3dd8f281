"""Network namespaces joined by veth pairs: a small network of our own, made and removed by a test.

    with Network() as network:
        left, right = network.namespace("left"), network.namespace("right")
        network.join(Port(left, ("11.1.1.1/24",)), Port(right, ("11.1.1.2/24",)))
        subprocess.run([*left.prefix, "ping", "-c1", "11.1.1.2"])

Rules: names are this process's own (its pid is in them), so that several runs do not meet; whatever
was made is removed, also after a failure; nothing outside of the namespaces is touched.  Needs
Linux, root, and the programs ip and nft.
"""

import itertools
import os
import shutil
import subprocess
import sys
from typing import NamedTuple

ETHERNET_MTU = 1500  # bytes
COMMAND_TIMEOUT = 10.0  # seconds; far above what any of these commands takes

_numbers = itertools.count()


class NamespaceError(Exception):
    """A namespace, link or rule could not be made; its text is one sentence."""


class Namespace(NamedTuple):
    """A network of its own, empty but for its loopback interface."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command that shall run in it; the command replaces this one."""
        return ("ip", "netns", "exec", self.name)

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.name, *arguments)

    def tc(self, *arguments: str) -> str:
        return run("tc", "-n", self.name, *arguments)

    def add_route(self, destination: str, gateway: str) -> None:
        self.ip("route", "add", destination, "via", gateway)

    def forward(self) -> None:
        """Makes a router of it."""
        for path in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            run(*self.prefix, "sh", "-c", f"echo 1 > /proc/sys/{path}")

    def set_rules(self, rules: str) -> None:
        """Replaces all of its nftables rules; what connections are known stays."""
        run(*self.prefix, "nft", "-f", "-", stdin=f"flush ruleset\n{rules}\n")

    def list_rules(self) -> str:
        """Returns the nftables rules, with what their counters have come to."""
        return run(*self.prefix, "nft", "list", "ruleset")


class Port(NamedTuple):
    """One end of a link."""

    namespace: Namespace
    addresses: tuple[str, ...] = ()
    """With the length of the prefix: 11.1.1.1/24."""
    name: str = "eth0"


class Network:
    """The namespaces and links of one run; a context manager that removes them."""

    def __init__(self) -> None:
        self._namespaces: list[Namespace] = []

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def namespace(self, role: str) -> Namespace:
        """Makes a namespace.  Raises NamespaceError."""
        namespace = Namespace(f"p2pnode-{os.getpid()}-{next(_numbers)}-{role}")
        self._namespaces.append(namespace)  # before it is made: an interrupt may come in between
        run("ip", "netns", "add", namespace.name)
        namespace.ip("link", "set", "dev", "lo", "up")
        return namespace

    def join(self, one: Port, other: Port, *, mtu: int = ETHERNET_MTU) -> None:
        """Makes a veth pair between two namespaces.  Raises NamespaceError."""
        pair = ("type", "veth", "peer", "name", other.name, "netns", other.namespace.name)
        run("ip", "link", "add", "name", one.name, "netns", one.namespace.name, *pair)
        for port in (one, other):
            namespace = port.namespace
            for address in port.addresses:
                # Without duplicate address detection, an IPv6 address can be used at once.
                flags = ("nodad",) if ":" in address else ()
                namespace.ip("address", "add", address, "dev", port.name, *flags)
            namespace.ip("link", "set", "dev", port.name, "mtu", str(mtu), "up")

    def remove(self) -> None:
        """Removes everything, links with their namespaces; may be called again."""
        while self._namespaces:
            command = ["ip", "netns", "delete", self._namespaces[-1].name]
            subprocess.run(command, check=False, capture_output=True, timeout=COMMAND_TIMEOUT)
            self._namespaces.pop()


def missing_rights(*programs: str) -> str | None:
    """Returns in one sentence why namespaces cannot be made here, or None where they can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    missing = [name for name in ("ip", *programs) if shutil.which(name) is None]
    if missing:
        return f"network namespaces need the program {missing[0]}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network() as network:
            network.namespace("probe")
    except NamespaceError as exc:
        return f"network namespaces cannot be made here: {exc}"
    return None


def run(*command: str, stdin: str = "") -> str:
    """Returns what the command prints.  Raises NamespaceError with what it complains of."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise NamespaceError(f"`{' '.join(command)}` failed: {_one_line(done.stderr)}")
    return done.stdout


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "it does not say why"
