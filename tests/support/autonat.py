"""Streams between AutoNAT's machines, without a network."""

from p2pnode.machine import ResetStream, SendData, SendEof, SocketAddr, StreamMachine
from p2pnode.protocols.autonat import Asker, DialAbility
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id

ALICE = peer_id("a")
ALICE_ADDR = SocketAddr("1.2.3.4", 4001)
ASKER = Asker(ALICE, ALICE_ADDR, NOISE_UDP)
RELAYED = Asker(ALICE, None, NOISE_UDP)
ABILITY = DialAbility((NOISE_UDP,), own_ips=frozenset({"9.9.9.9"}))
SAME_IP = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
OTHER_IP = parse_multiaddr("/ip4/5.6.7.8/udp/4001/noise")
PRIVATE_IP = parse_multiaddr("/ip4/192.168.1.2/udp/4001/noise")


def addr(text: str) -> Multiaddr:
    return parse_multiaddr(text)


def asker(name: object, ip: str) -> Asker:
    return Asker(peer_id(name), SocketAddr(ip, 4001), NOISE_UDP)


def outputs(machine: StreamMachine) -> tuple[bytes, list[str]]:
    """Returns the bytes that a machine sends now, and what else it does: "eof", "reset 0x1004"."""
    data, acts = b"", []
    for output in machine.poll_output():
        match output:
            case SendData(more):
                assert not acts, "data behind the end"
                data += more
            case SendEof():
                acts.append("eof")
            case ResetStream(code):
                acts.append(f"reset {code:#x}")
    return data, acts


def deliver(source: StreamMachine, target: StreamMachine, now: float) -> list[str]:
    """Carries all that `source` has to say to `target`; returns the acts."""
    data, acts = outputs(source)
    if data:
        target.handle_data(data, now)
    for act in acts:
        if act == "eof":
            target.handle_eof(now)
        else:
            target.handle_reset(int(act.split()[1], 16), now)
    return acts


def talk(one: StreamMachine, other: StreamMachine, now: float) -> None:
    """Carries bytes between two machines until both are silent."""
    for _ in range(20):
        before = deliver(one, other, now), deliver(other, one, now)
        if before == ([], []) and not (one.poll_output() or other.poll_output()):
            return
    raise AssertionError("they never stop")


def frame(message: bytes) -> bytes:
    return encode_frame(message)
