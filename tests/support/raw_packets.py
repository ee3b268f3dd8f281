"""Both keys of a real handshake: they seal any payload and open what comes, by no rule at all."""

from cryptography.exceptions import InvalidTag

from p2pnode.transports.noise_udp.aead import Aead, packet_key
from p2pnode.transports.noise_udp.handshake import Secrets
from p2pnode.transports.noise_udp.packet import DATA, DATA_HEADER, DATA_HEADER_SIZE

PATH_IDS = range(16)
"""Those that are tried for what comes; the header does not tell the path."""


class RawPackets:
    """The data packets of one connection, as one of its ends makes and reads them."""

    def __init__(
        self, secrets: Secrets, aead: Aead, peer_connection_id: int, *, is_initiator: bool
    ) -> None:
        """`peer_connection_id` is the peer's on path 0."""
        write, read = secrets if is_initiator else secrets[::-1]
        self._write, self._read = packet_key(write, aead), packet_key(read, aead)
        self.ids = {0: peer_connection_id}
        """path id -> the peer's id there"""
        self.next_number: dict[int, int] = {}

    def seal(self, payload: bytes, *, path_id: int = 0, number: int | None = None) -> bytes:
        """Returns a data packet of any payload."""
        if number is None:
            number = self.next_number.get(path_id, 0)
            self.next_number[path_id] = number + 1
        header = DATA_HEADER.pack(DATA, self.ids[path_id], number & 0xFFFF_FFFF)
        nonce = (self._write.iv ^ (path_id << 64 | number)).to_bytes(12, "big")
        return header + self._write.seal(nonce, payload, header)

    def open(
        self, datagram: bytes, path_ids: range | tuple[int, ...] = PATH_IDS
    ) -> tuple[int, int, bytes] | None:
        """Returns (path id, number, payload), or None for what these keys do not open."""
        _, _, number = DATA_HEADER.unpack_from(datagram)
        header, text = datagram[:DATA_HEADER_SIZE], datagram[DATA_HEADER_SIZE:]
        for path_id in path_ids:
            nonce = (self._read.iv ^ (path_id << 64 | number)).to_bytes(12, "big")
            try:
                return path_id, number, self._read.open(nonce, text, header)
            except InvalidTag:
                continue
        return None
