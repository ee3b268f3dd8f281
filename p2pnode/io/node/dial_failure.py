"""Why a peer was not reached, in one sentence: what was tried, what became of it, what to look at.

Rules: an address that is the target itself is not repeated; relays that were asked on the off
chance and do not relay to the peer are left out, since the search that failed says as much.
"""

from p2pnode.errors import NO_ANSWER
from p2pnode.protocols.kad.lookup import NOBODY_ASKED
from p2pnode.protocols.relay.messages import Status, status_name

_NOT_ITS_RELAY = (status_name(Status.NO_RESERVATION), status_name(Status.PERMISSION_DENIED))
_RELAYED = "/p2p-circuit"
_BARE = "/p2p/"
_OVER_TCP = "/tcp/"
_REFUSALS = {
    status_name(Status.NO_RESERVATION): "the peer holds no reservation",
    status_name(Status.RESOURCE_LIMIT_EXCEEDED): "as much is relayed as may be",
    status_name(Status.PERMISSION_DENIED): "relaying is not allowed",
    status_name(Status.CONNECTION_FAILED): "the peer does not answer",
}


def dial_failure_text(target: str, attempts: tuple[tuple[str, str], ...]) -> str:
    """Returns the sentence for (address, reason) pairs.

    An address that is only /p2p/<id> stands for the search, one with /p2p-circuit for a relay.
    """
    if not attempts:
        return f"cannot reach {target}: there was no address to try"
    search = [reason for address, reason in attempts if address.startswith(_BARE)]
    relayed = [attempt for attempt in attempts if _RELAYED in attempt[0]]
    direct = [a for a in attempts if not a[0].startswith(_BARE) and a not in relayed]
    if direct:
        search = [reason for reason in search if reason != NOBODY_ASKED]
    if search:
        relayed = [attempt for attempt in relayed if attempt[1] not in _NOT_ITS_RELAY]
    parts = [
        _direct_text(target, *attempt, is_alone=len(direct + relayed + search) == 1)
        for attempt in direct
    ]
    parts += _relayed_texts(relayed)
    parts += [f"no peer told where it is: {reason}" for reason in search]
    if direct and all(reason == NO_ANSWER for _, reason in (*direct, *relayed)):
        parts.append(f"is the peer running there, and {_get_through(direct)}?")
    elif search:
        parts.append("is it running, and connected with a peer that this node knows?")
    return f"cannot reach {target}: {'; '.join(parts)}"


def _get_through(direct: list[tuple[str, str]]) -> str:
    carriers = dict.fromkeys("TCP" if _OVER_TCP in address else "UDP" for address, _ in direct)
    return f"{'do' if len(carriers) > 1 else 'does'} {' or '.join(carriers)} get through"


def _direct_text(target: str, address: str, reason: str, *, is_alone: bool) -> str:
    if address == target and is_alone:
        return reason
    return f"{reason} from {address}" if reason == NO_ANSWER else f"{reason} (at {address})"


def _relayed_texts(attempts: list[tuple[str, str]]) -> list[str]:
    """Relays that say the same share a part."""
    by_reason: dict[str, dict[str, None]] = {}
    for address, reason in attempts:
        relay = address.partition(_RELAYED)[0].rpartition(_BARE)[0]
        by_reason.setdefault(_REFUSALS.get(reason, reason), {})[relay] = None
    return [
        f"{reason} (through the relay{'s' if len(relays) > 1 else ''} at {' and '.join(relays)})"
        for reason, relays in by_reason.items()
    ]
