"""The facts of a test swarm as `p2pnode swarm` prints them, for scripts and for people.

Rule: the fields of an object and the words of a line say the same (specs/testbed.md).
"""

from typing import Any

from p2pnode.escape import said
from p2pnode.testbed.fleet_board import NodeView, PairView, Summary

MAX_REASON = 160  # characters of why there is no path


def node_fields(node: NodeView) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": "node",
        "node": node.member.name,
        "nat": node.member.kind.name,
        "relay": node.member.is_relay,
        "peer_id": node.peer_id,
        "reachability": node.verdict,
        "relays": list(node.relays),
    }
    return fields if node.end is None else {**fields, "event": "node_ended", "last_words": node.end}


def node_text(node: NodeView) -> str:
    name, kind = node.member.name, node.member.kind
    if node.end is not None:
        return f"ended      {name}: {node.end}"
    relays = f", relayed by {' and '.join(node.relays)}" if node.relays else ""
    return f"node       {name} ({kind.name}) has reachability {node.verdict}{relays}"


def pair_fields(view: PairView) -> dict[str, Any]:
    return {
        "event": "pair",
        "node": view.pair.asker,
        "peer": view.pair.target,
        "path": view.path,
        "via": view.via or None,
        "transport": view.transport,
        "limited": view.limited,
        "rtt_ms": _ms(view.rtt),
        "reason": view.reason or None,
        "connected_s": _rounded(view.connected_after),
        "direct_s": _rounded(view.direct_after),
        "lost": view.lost,
    }


def pair_text(view: PairView) -> str:
    pair = f"pair       {view.pair.asker} -> {view.pair.target}"
    if view.path is None or view.rtt is None:
        return f"{pair} not connected: {said(view.reason, MAX_REASON)}"
    after = view.direct_after if view.path == "direct" else view.connected_after
    return (
        f"{pair} {view.path} in {view.rtt * 1000:.1f} ms via {view.via}, after {after or 0:.1f} s"
    )


def summary_fields(summary: Summary) -> dict[str, Any]:
    return {
        "event": "summary",
        "pairs": summary.pairs,
        "direct": summary.direct,
        "relayed": summary.relayed,
        "unconnected": summary.unconnected,
        "direct_rtt_ms": _ms(summary.direct_rtt),
        "relayed_rtt_ms": _ms(summary.relayed_rtt),
        "connected_s": _rounded(summary.connected_after),
        "direct_s": _rounded(summary.direct_after),
        "all_connected_s": _rounded(summary.all_connected_after),
        "lost": summary.lost,
    }


def summary_text(summary: Summary) -> str:
    facts = [
        f"{summary.direct} of {summary.pairs} pairs direct{_in_ms(summary.direct_rtt)}",
        f"{summary.relayed} relayed{_in_ms(summary.relayed_rtt)}",
        f"{summary.unconnected} not connected",
    ]
    medians = [
        f"{what} after {seconds:.1f} s"
        for what, seconds in (
            ("connected", summary.connected_after),
            ("direct", summary.direct_after),
        )
        if seconds is not None
    ]
    if summary.lost:
        facts.append(f"{summary.lost} pings lost")
    text = ", ".join(facts)
    return f"{text}; medians: {', '.join(medians)}" if medians else text


def _in_ms(seconds: float | None) -> str:
    return "" if seconds is None else f" ({seconds * 1000:.0f} ms)"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
