"""A client that moves: its new address is asked, and followed when it answers (RFC 9000, 9)."""

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.transports.datagrams.frame import PathResponse
from p2pnode.transports.quic_v1.connection_id import RemoteIds
from p2pnode.transports.quic_v1.frame import RetireConnectionId
from p2pnode.transports.quic_v1.packet_receiver import Arrival
from p2pnode.transports.quic_v1.packet_sender import PacketSender
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.path import Path
from p2pnode.transports.quic_v1.path_check import PathCheck


class Moves:
    """Of one connection, once its handshake is over."""

    __slots__ = ("_entropy", "_path", "_remote_ids", "_sender", "_space")

    def __init__(
        self,
        path: Path,
        space: PacketSpace,
        sender: PacketSender,
        remote_ids: RemoteIds,
        entropy: Entropy,
    ) -> None:
        self._path = path
        self._space = space
        self._sender = sender
        self._remote_ids = remote_ids
        self._entropy = entropy

    def on_elsewhere(self, arrival: Arrival, now: Instant) -> None:
        """The peer's newest packet came from another address: it is asked whether it is there."""
        sender = self._sender
        if sender.check is None or sender.check.route.key != arrival.route.key:
            sender.check = PathCheck(arrival.route, self._entropy, now)
        sender.check.received += arrival.size

    def on_response(self, frame: PathResponse) -> list[RetireConnectionId]:
        """Goes over to an address that has answered; returns what retires the old id, if any."""
        check, path = self._sender.check, self._path
        if check is None or not check.is_answer(frame.data):
            return []
        self._sender.check = None
        is_other_place = check.route.remote.ip != path.route.remote.ip
        path.route = check.route
        if not is_other_place:
            return []
        path.measure_anew()
        self._space.recovery.restart(path.rtt, path.controller, ecn=path.ecn, mtu=path.mtu)
        retirement = self._remote_ids.move_on()
        return [] if retirement is None else [retirement]
