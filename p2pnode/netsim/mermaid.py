"""A trace as a mermaid sequence diagram: one arrow for each leg of each packet.

A solid arrow arrives, a crossed one ends in a drop and says why; an open one is what has come
through a pipe, from end to end.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from p2pnode.netsim.packet import Packet
from p2pnode.netsim.trace import Kind, Trace

MAX_ARROWS = 300
"""Arrows in one picture; the oldest are left out.  Chosen: what a viewer still renders at once."""

Describe = Callable[[bytes], str]
"""Names a payload for the reader; the simulator knows no protocol."""


def describe_size(payload: bytes) -> str:
    """Names a payload by its size."""
    return f"{len(payload)} B"


def to_mermaid(
    trace: Trace, describe: Describe = describe_size, max_arrows: int = MAX_ARROWS
) -> str:
    """Returns the last legs of the trace as the text of a diagram."""
    participants: dict[str, None] = {}
    arrows: list[tuple[float, str]] = []
    last_seen: dict[int, str] = {}
    for at, kind, where, packet, reason in trace.records:
        if kind is Kind.SENT:
            last_seen[packet.id] = where
            participants.setdefault(where)
            continue
        origin = last_seen.get(packet.id)
        if origin is None:  # sent before the ring began, or never able to leave
            origin = where
        participants.setdefault(origin)
        participants.setdefault(where)
        label = _escape(f"{at * 1e3:.3f} ms {_addresses(packet)} {describe(packet.payload)}")
        if kind is Kind.DROPPED:
            arrows.append((at, f"{_alias(origin)}-x{_alias(where)}: {label} ({reason})"))
        else:
            arrows.append((at, f"{_alias(origin)}->>{_alias(where)}: {label}"))
            last_seen[packet.id] = where
    arrows += _link_arrows(trace, participants)
    arrows.sort(key=lambda arrow: arrow[0])
    names = [f"participant {_alias(name)} as {_escape(name)}" for name in participants]
    left_out = len(arrows) - max_arrows
    if left_out > 0 and names:
        names.append(f"Note over {_alias(next(iter(participants)))}: {left_out} earlier legs")
    lines = [*names, *(arrow for _, arrow in arrows[-max_arrows:])]
    return "\n    ".join(["sequenceDiagram", *lines]) + "\n"


def write_mermaid(trace: Trace, path: Path, describe: Describe = describe_size) -> None:
    """Writes the diagram.  Raises OSError."""
    path.write_text(to_mermaid(trace, describe), encoding="utf-8")


def _link_arrows(trace: Trace, participants: dict[str, None]) -> Iterator[tuple[float, str]]:
    """Yields one arrow for what has come through each pipe, from end to end."""
    for at, kind, (origin, where), (src, dst), payload in trace.links:
        participants.setdefault(origin)
        participants.setdefault(where)
        size = f" {len(payload)} B" if payload else ""
        label = _escape(f"{at * 1e3:.3f} ms {src} to {dst} link {kind}{size}")
        yield at, f"{_alias(origin)}-){_alias(where)}: {label}"


def _addresses(packet: Packet) -> str:
    return f"{packet.src} to {packet.dst}"


def _alias(name: str) -> str:
    # The prefix keeps names such as "end" from being read as mermaid's keywords.
    return "p_" + re.sub(r"\W", "_", name)


def _escape(text: str) -> str:
    """Mermaid ends a statement at ; and starts a comment or an entity at #."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable.replace("#", "#35;").replace(";", "#59;").replace("#35#59;", "#35;")
