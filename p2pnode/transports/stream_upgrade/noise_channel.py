"""The frames of libp2p-noise on an ordered byte link (specs/upgrade.md, Frames).

Rule: a frame that does not authenticate ends the link; on a link nothing is lost or reordered, so
the only cause is a forger or a broken peer.
"""

from p2pnode.noise import MAX_MESSAGE_SIZE, CipherState
from p2pnode.noise.primitives import TAG_LEN

LENGTH_SIZE = 2  # bytes in front of each frame, big-endian
MAX_PLAINTEXT_SIZE = MAX_MESSAGE_SIZE - TAG_LEN
SHORT_FRAME = 12  # bytes of plaintext: less is no header of a muxer's, so nobody needs such frames


def encode_noise_frame(message: bytes) -> bytes:
    """Returns a Noise message of at most MAX_MESSAGE_SIZE bytes behind its length."""
    return len(message).to_bytes(LENGTH_SIZE) + message


class NoiseChannel:
    """Both directions of a secured link.  Holds what arrived of one frame, and no more."""

    __slots__ = ("_arrived", "_receiving", "_sending", "_wanted", "frames", "short_frames")

    def __init__(self, sending: CipherState, receiving: CipherState) -> None:
        self._sending = sending
        self._receiving = receiving
        self._arrived = bytearray()
        """The start of a frame."""
        self._wanted = 0
        """How much of it is needed to go on; 0 while nothing has arrived."""
        self.frames = 0
        """That came so far."""
        self.short_frames = 0
        """Of those, with less than SHORT_FRAME bytes of plaintext."""

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._arrived)

    def encrypt(self, plaintext: bytes) -> bytes:
        """Returns the frames that carry `plaintext`, as few as can be; none for no bytes.

        Raises LocalProtocolError where the nonces are used up.
        """
        if 0 < len(plaintext) <= MAX_PLAINTEXT_SIZE:
            return encode_noise_frame(self._sending.encrypt_with_ad(b"", plaintext))
        frames = bytearray()
        for start in range(0, len(plaintext), MAX_PLAINTEXT_SIZE):
            piece = plaintext[start : start + MAX_PLAINTEXT_SIZE]
            frames += encode_noise_frame(self._sending.encrypt_with_ad(b"", piece))
        return bytes(frames)

    def decrypt_untrusted(self, data: bytes) -> bytes:
        """Takes the link's next bytes, cut anywhere; returns the plaintext of complete frames.

        Raises DecodeError for a frame that is forged or too short; the link is lost then.
        """
        arrived = self._arrived
        if self._wanted:
            arrived += data
            if len(arrived) < self._wanted:
                return b""
            data = bytes(arrived)
            arrived.clear()
        found: list[bytes] = []
        start, size = 0, len(data)
        self._wanted = 0
        while start < size:
            end = behind_length = start + LENGTH_SIZE
            if end <= size:
                end += int.from_bytes(data[start:behind_length])
            if end > size:
                self._wanted = end - start
                arrived += data[start:]
                break
            plaintext = self._receiving.decrypt_with_ad(b"", data[behind_length:end])
            self.frames += 1
            if len(plaintext) < SHORT_FRAME:
                self.short_frames += 1
            found.append(plaintext)
            start = end
        return found[0] if len(found) == 1 else b"".join(found)
