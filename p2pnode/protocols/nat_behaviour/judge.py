"""What evidence says of a NAT: pure functions, each with its reason (specs/nat_behaviour.md).

    seen by                                     says
    a second port of one address                whether the mapping looks at the remote port
    peers at two addresses                      whether it looks at the remote address
    one peer, of several sockets in turn        by which law external ports are given
    a knock from a port, or an address,         whom the filter lets in
      that was not written to

Rule: what the evidence cannot tell is "unknown", with what it would take to tell.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

from p2pnode.machine import SocketAddr
from p2pnode.protocols.nat_behaviour import Dependence, PortAllocation
from p2pnode.wire.ip_ranges import IpScope, ip_scope

MIN_SAMPLES: Final = 4
"""sockets for a port law; chosen: three differences that agree by chance are one in a million"""
MAX_SEQUENTIAL_STEP: Final = 16
"""ports between two of a sequence; chosen: others behind the NAT take some in between"""
MAX_BLOCK_SPREAD: Final = 4032
"""ports; RFC 7422's largest usual block: five random ports are so near one time in 10,000"""

KindT = TypeVar("KindT")


class Judgement(NamedTuple, Generic[KindT]):
    """What was found, and why; for "unknown", what is missing."""

    kind: KindT
    why: str


class View(NamedTuple):
    """Where one remote address sees one socket of ours."""

    remote: SocketAddr
    observed: SocketAddr


class PortSample(NamedTuple):
    """One socket's port, and the one that a peer sees it at."""

    local: int
    external: int


def judge_mapping(views: Sequence[View], own: Collection[SocketAddr]) -> Judgement[Dependence]:
    """Returns the mapping behaviour, from views of one socket.

    `own` is where the socket is without any NAT: its port at each address of this machine.
    """
    outside = [v for v in views if ip_scope(v.remote.ip) is IpScope.PUBLIC]
    if not outside:
        why = "the peers are in this machine's own network" if views else "no peer sees this socket"
        return Judgement(Dependence.UNKNOWN, why)
    if all(v.observed in own for v in outside):
        return Judgement(
            Dependence.NONE, f"{_peers(outside)} sees an address of this machine itself"
        )
    by_ip: dict[str, dict[int, SocketAddr]] = {}
    for view in outside:
        by_ip.setdefault(view.remote.ip, {})[view.remote.port] = view.observed
    twice = [set(ports.values()) for ports in by_ip.values() if len(ports) > 1]
    if not twice:
        return _judge_by_address(by_ip, whether_port_matters=None)
    differing = sum(len(seen) > 1 for seen in twice)
    if 2 * differing > len(twice):
        return Judgement(
            Dependence.ADDRESS_AND_PORT_DEPENDENT,
            f"{differing} of {len(twice)} peers see another address from their other port",
        )
    if 2 * differing == len(twice):
        why = f"of {len(twice)} peers, half see another address from their other port, half do not"
        return Judgement(Dependence.UNKNOWN, why)
    return _judge_by_address(by_ip, whether_port_matters=False)


def _judge_by_address(
    by_ip: dict[str, dict[int, SocketAddr]], *, whether_port_matters: bool | None
) -> Judgement[Dependence]:
    if len(by_ip) == 1:
        why = (
            "one peer cannot tell whether peers at other addresses get another mapping:"
            " connect to peers on two IPs"
        )
        return Judgement(Dependence.UNKNOWN, why)
    counts = Counter(next(iter(ports.values())) for ports in by_ip.values())
    address, agreeing = counts.most_common(1)[0]
    if agreeing >= 2 and 2 * agreeing > len(by_ip):
        why = f"{agreeing} of {len(by_ip)} peers on different IPs see {address}"
        return Judgement(Dependence.ENDPOINT_INDEPENDENT, why)
    differ = f"{len(by_ip)} peers on different IPs see {len(counts)} addresses"
    if whether_port_matters is None:
        why = f"{differ}, but none of them answers on a second port"
        return Judgement(Dependence.ENDPOINT_DEPENDENT, why)
    return Judgement(Dependence.ADDRESS_DEPENDENT, f"{differ}, and one from both ports of a peer")


def without_nat(filtering: Judgement[Dependence], mapping: Dependence) -> Judgement[Dependence]:
    """Where there is no NAT, what lets everybody in is no filter."""
    if mapping is Dependence.NONE and filtering.kind is Dependence.ENDPOINT_INDEPENDENT:
        return filtering._replace(kind=Dependence.NONE)
    return filtering


def judge_allocation(samples: Sequence[PortSample]) -> Judgement[PortAllocation]:
    """Returns the law, from what one peer sees of sockets that were first used in this order."""
    if len(samples) < MIN_SAMPLES:
        why = f"{len(samples)} of the {MIN_SAMPLES} sockets that it takes were seen by one peer"
        return Judgement(PortAllocation.UNKNOWN, why)
    kept = sum(sample.local == sample.external for sample in samples)
    if 2 * kept >= len(samples):
        why = f"{kept} of {len(samples)} sockets keep their port"
        return Judgement(PortAllocation.PRESERVING, why)
    ports = [sample.external for sample in samples]
    steps = [b - a for a, b in pairwise(ports)]
    if _is_sequential(steps):
        why = f"each socket is {_span(steps)} from the one before"
        return Judgement(PortAllocation.SEQUENTIAL, why)
    spread = max(ports) - min(ports)
    if spread <= MAX_BLOCK_SPREAD:
        why = f"{len(ports)} sockets are within {spread} ports, in no order"
        return Judgement(PortAllocation.BLOCK, why)
    return Judgement(PortAllocation.RANDOM, f"{len(ports)} sockets are spread over {spread} ports")


def _is_sequential(steps: Sequence[int]) -> bool:
    """True for small steps in one direction, but for one: where the range ends it starts anew."""
    small = [step for step in steps if 0 < abs(step) <= MAX_SEQUENTIAL_STEP]
    return len(small) >= len(steps) - 1 and len({step > 0 for step in small}) == 1


def _span(steps: Sequence[int]) -> str:
    low, high = min(steps), max(steps)
    return f"{low:+} ports" if low == high else f"{low:+} to {high:+} ports"


def judge_filtering(
    *, from_other_port: bool | None, from_stranger: bool | None
) -> Judgement[Dependence]:
    """Returns the filter's behaviour; None where nobody has knocked."""
    if from_stranger:
        why = "a knock from an address that was not written to came in"
        return Judgement(Dependence.ENDPOINT_INDEPENDENT, why)
    if from_other_port is False:
        why = "a peer's knock from its other port did not come in"
        return Judgement(Dependence.ADDRESS_AND_PORT_DEPENDENT, why)
    if from_other_port is None:
        why = "no peer has knocked from a second port"
        return Judgement(Dependence.UNKNOWN, why)
    if from_stranger is None:
        why = (
            "one peer cannot tell whether peers at other addresses are let in:"
            " connect to peers on two IPs"
        )
        return Judgement(Dependence.UNKNOWN, why)
    why = "a peer's knock from its other port came in, one from another address did not"
    return Judgement(Dependence.ADDRESS_DEPENDENT, why)


def _peers(views: Sequence[View]) -> str:
    count = len({view.remote.ip for view in views})
    return "one peer" if count == 1 else f"each of {count} peers"
