"""The Internet between the sites, as the maker of the sites holds it; `forwarder` does the work."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from p2pnode.testbed.access import CORE_HOPS, AccessLink, Traffic
from p2pnode.testbed.namespaces import BedError

ANSWER_TIMEOUT = 10.0
"""seconds; an answer takes a millisecond, the first one also the start of the program"""

MAX_ANSWER_SIZE = 65536  # bytes; far above what an answer takes


class Internet:
    """A running forwarder; every method returns when it is done, or raises BedError."""

    def __init__(
        self, *, hops: int = CORE_HOPS, time_exceeded: bool = False, seed: int | str = 0
    ) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_TIMEOUT)
        arguments = [str(theirs.fileno()), str(hops), str(time_exceeded), str(seed)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "p2pnode.testbed.forwarder", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # No signal of a terminal is for it, and it outlives us by a moment.
                start_new_session=True,
            )

    def add(
        self,
        site: str,
        tun: int,
        prefixes: Sequence[str],
        access: AccessLink,
        inodes: Sequence[int],
    ) -> None:
        """Joins a site: its device, which then is the forwarder's, and its namespaces' inodes.

        Processes in these namespaces are killed when this process dies without a word.
        """
        try:
            self._ask(
                "add", tun, site=site, prefixes=list(prefixes), access=access, inodes=list(inodes)
            )
        finally:
            os.close(tun)

    def set_prefixes(self, site: str, prefixes: Sequence[str]) -> None:
        """Routes these prefixes to the site, and no others."""
        self._ask("set_prefixes", site=site, prefixes=list(prefixes))

    def set_access(self, site: str, access: AccessLink) -> None:
        self._ask("set_access", site=site, access=access)

    def set_up(self, site: str, *, up: bool) -> None:
        """Cuts the site off, packets on their way included, or joins it again."""
        self._ask("set_up", site=site, up=up)

    def set_delay(self, one: str, other: str, delay: float | None) -> None:
        """Sets the seconds one way between two sites; None for those of their access lines."""
        self._ask("set_delay", one=one, other=other, delay=delay)

    def traffic(self, site: str) -> Traffic:
        return Traffic(*self._ask("traffic", site=site))

    def close(self) -> None:
        """Ends it; the sites' devices go with it.  May be called again."""
        self._control.close()
        try:
            self._process.wait(ANSWER_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, command: str, file: int | None = None, **arguments: object) -> list[Any]:
        message = json.dumps({"command": command, **arguments}).encode()
        try:
            socket.send_fds(self._control, [message], [] if file is None else [file])
            answer = self._control.recv(MAX_ANSWER_SIZE)
        except OSError as exc:
            raise BedError(f"the test bed's Internet does not answer: {exc}") from exc
        if not answer:
            raise BedError("the test bed's Internet has ended")
        found: list[Any] = json.loads(answer)
        return found
