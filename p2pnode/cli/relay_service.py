"""What runs `p2pnode relay` for good: a systemd unit, or a container's recipe.

Rule: the flags that were given are the flags that it has; where it keeps its key and state is the
service's own matter, so those that name a folder are refused.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import typer

from p2pnode.cli.output import Output
from p2pnode.errors import AddressError
from p2pnode.wire.transport_name import Carrier

PRIVILEGED_PORTS: Final = range(1, 1024)
STOP_TIMEOUT: Final = 20
"""seconds until a service that should end is killed; chosen: four times what draining may take"""
_OF_THE_SERVICE: Final = ("data", "qlog", "key_log")
_NOT_CARRIED: Final = ("print_unit", "print_containerfile", "json")

_UNIT: Final = """\
# Save as /etc/systemd/system/p2pnode-relay.service, then:
#   systemctl daemon-reload && systemctl enable --now p2pnode-relay
# `p2pnode status --data /var/lib/p2pnode` (as root) talks to it.
# The program must be where every user can read it: not in a home folder.

[Unit]
Description=p2pnode relay
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart={command}
Environment=P2PNODE_DATA=%S/p2pnode
# SIGTERM moves circuits to other relays first.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop_timeout}
Restart=on-failure
RestartSec=5
# Wrong usage stays wrong.
RestartPreventExitStatus=2
LimitNOFILE=65536

DynamicUser=yes
StateDirectory=p2pnode
StateDirectoryMode=0700
UMask=0077
{capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# Netlink: which addresses this machine has.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_CONTAINERFILE: Final = """\
# In a clone of p2pnode, with this file as Containerfile:
#   podman build -t p2pnode-relay .
#   podman run -d --network host --restart on-failure -v p2pnode:/data p2pnode-relay
# With the host's network a relay sees where its peers are, and tells them so.  Its port is kept in
# the volume; --listen sets one that a firewall can be told of.

FROM python:3.13-slim
COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src \\
 && useradd --system --uid 10001 --home-dir /data p2pnode \\
 && install -d -o p2pnode -m 0700 /data
ENV P2PNODE_DATA=/data
VOLUME /data
{exposed}USER p2pnode
# Moves circuits to other relays first.
STOPSIGNAL SIGTERM
ENTRYPOINT ["p2pnode"]
CMD {command}
"""


def print_service(context: typer.Context, output: Output, listen: Sequence[str]) -> int:
    """Prints what `--print-unit` or `--print-containerfile` asks for; returns the exit code.

    Raises typer.BadParameter for flags that do not go with it.
    """
    is_unit, is_container = (bool(context.params[name]) for name in _NOT_CARRIED[:2])
    if is_unit and is_container:
        raise typer.BadParameter("one of --print-unit and --print-containerfile at a time")
    words = given_words(context)
    if is_unit:
        text = systemd_unit([*_program(), *words], listen)
        output.emit({"unit": text}, *text.rstrip("\n").split("\n"))
    else:
        text = containerfile(words, listen)
        output.emit({"containerfile": text}, *text.rstrip("\n").split("\n"))
    return 0


def given_words(context: typer.Context) -> list[str]:
    """Returns the command with the flags that its line gave, as words of a new line."""
    words = [str(context.command.name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in _NOT_CARRIED:
            continue
        flag = max(parameter.opts, key=len)
        if name in _OF_THE_SERVICE:
            raise typer.BadParameter(f"a service keeps files in its own folder: leave out {flag}")
        value = context.params[name]
        if name == "verbose":
            words += [flag] * value
        else:
            values = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
            words += [word for one in values for word in (flag, str(one))]
    return words


def systemd_unit(command: Sequence[str], listen: Sequence[str]) -> str:
    """Returns a unit that runs the command as a user of its own, with next to no rights."""
    is_privileged = any(port in PRIVILEGED_PORTS for port, _ in _ports(listen))
    capabilities = "CAP_NET_BIND_SERVICE" if is_privileged else ""
    return _UNIT.format(
        command=" ".join(_unit_word(word) for word in command),
        stop_timeout=STOP_TIMEOUT,
        capabilities=f"AmbientCapabilities={capabilities}\nCapabilityBoundingSet={capabilities}",
    )


def containerfile(words: Sequence[str], listen: Sequence[str]) -> str:
    """Returns a recipe for a container that runs the command as a user of its own."""
    ports = dict.fromkeys(place for place in _ports(listen) if place[0])
    return _CONTAINERFILE.format(
        command=json.dumps(list(words)),
        exposed="".join(f"EXPOSE {port}/{carrier}\n" for port, carrier in ports),
    )


def _program() -> list[str]:
    """Returns how the program that runs now is called by its full path."""
    folder = Path(sys.executable).parent
    script = shutil.which("p2pnode", path=folder)
    return [script] if script else [sys.executable, "-m", "p2pnode"]


def _ports(listen: Sequence[str]) -> list[tuple[int, Carrier]]:
    """Returns each port with whose it is.  Raises typer.BadParameter."""
    from p2pnode.io.listen_address import listen_address

    ports: list[tuple[int, Carrier]] = []
    for text in listen:
        try:
            address = listen_address(text)
            ports.append((address.bind.port, address.carrier))
        except AddressError as exc:
            raise typer.BadParameter(str(exc), param_hint="--listen") from exc
    return ports


def _unit_word(word: str) -> str:
    """Quotes a word of ExecStart= (systemd.service(5), systemd.syntax(7))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    is_plain = escaped and not any(char.isspace() or char in "\"'\\;" for char in escaped)
    return escaped if is_plain else f'"{escaped}"'
