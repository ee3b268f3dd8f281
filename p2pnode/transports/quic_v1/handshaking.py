"""The handshake of a connection: TLS in CRYPTO frames, keys that come and go (RFC 9001 section 4).

INITIAL --server's hello--> HANDSHAKE --Finished--> 1-RTT

client  gives up Initial keys with its first Handshake packet, Handshake keys when the server
        says HANDSHAKE_DONE
server  gives up Initial keys with the client's first Handshake packet, Handshake keys when the
        client's Finished has come, which confirms the handshake to it
"""

from random import Random
from typing import NamedTuple

from p2pnode.errors import DecodeError, TransportError
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.key_phases import KeyPhases
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.parameters import (
    TransportParameters,
    check_connection_ids,
    decode_parameters_untrusted,
)
from p2pnode.transports.quic_v1.path import Path
from p2pnode.transports.quic_v1.protection import INITIAL_SUITE, initial_secrets
from p2pnode.transports.quic_v1.tls_engine import TlsEngine, TrafficSecret

EARLY: tuple[Epoch, Epoch] = (Epoch.INITIAL, Epoch.HANDSHAKE)


class PacketIds(NamedTuple):
    """Connection ids on the packets of a handshake, which parameters have to repeat."""

    source: bytes
    """Of the peer's first Initial."""
    original_destination: bytes | None
    """Where a client's first Initial went; None of a server."""
    retry_source: bytes | None


class Handshaking:
    """TLS, and the packet number spaces of Initial and Handshake packets."""

    def __init__(self, tls: TlsEngine, path: Path, rng: Random) -> None:
        self.tls = tls
        self.is_client = tls.is_client
        self.spaces = {
            epoch: PacketSpace(epoch, path.rtt, path.controller, rng=rng) for epoch in EARLY
        }
        self.secrets: list[TrafficSecret] = []
        """All so far, for a key log."""
        self.is_confirmed = False
        """Whether the peer is known to have completed it as well (RFC 9001 section 4.1.2)."""
        self.keys: KeyPhases | None = None
        """1-RTT's, once the handshake is complete on this side."""
        self.token = b""
        """What the client's Initials carry."""

    @property
    def initial(self) -> PacketSpace:
        return self.spaces[Epoch.INITIAL]

    @property
    def handshake(self) -> PacketSpace:
        return self.spaces[Epoch.HANDSHAKE]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left of it to be sent or to be read."""
        return self.initial.is_discarded and self.handshake.is_discarded

    def set_initial_keys(self, destination: bytes) -> None:
        """Makes the keys of Initials: `destination` is where the client's go."""
        client, server = initial_secrets(destination)
        write, read = (client, server) if self.is_client else (server, client)
        self.initial.set_write(INITIAL_SUITE, write)
        self.initial.set_read(INITIAL_SUITE, read)

    def start(self) -> None:
        """Writes the ClientHello."""
        self.tls.start()
        self._take_output()

    def restart(self) -> None:
        """The server asked for a token: all that was sent goes out again (RFC 9000 17.2.5)."""
        self.initial.recovery.discard_all()
        self.initial.probes_due = 0

    def handle_crypto(self, epoch: Epoch, offset: int, data: bytes) -> None:
        """Takes a CRYPTO frame of a packet of Initial or Handshake.  Raises TransportError."""
        found = self.spaces[epoch].crypto.handle(offset, data)
        if found:
            self.tls.handle_crypto(epoch, found)
            self._take_output()

    def remote_parameters(self, ids: PacketIds) -> TransportParameters:
        """Returns what the peer declared, once it is complete.  Raises TransportError."""
        encoded = self.tls.remote_parameters
        assert encoded is not None, "the handshake is not complete"
        try:
            parameters = decode_parameters_untrusted(encoded, is_server=self.is_client)
        except DecodeError as error:
            raise TransportError(ErrorCode.TRANSPORT_PARAMETER_ERROR, str(error)) from None
        check_connection_ids(
            parameters,
            source=ids.source,
            original_destination=ids.original_destination,
            retry_source=ids.retry_source,
        )
        return parameters

    def probe(self) -> None:
        """A client asks for an answer though nothing of its own is in flight."""
        space = self.initial if self.handshake.write is None else self.handshake
        space.probes_due = max(space.probes_due, 1)

    def confirm(self) -> None:
        """The peer has completed the handshake as well."""
        self.is_confirmed = True
        for space in self.spaces.values():
            if not space.is_discarded:
                space.discard()

    def _take_output(self) -> None:
        for epoch, data in self.tls.poll_output():
            self.spaces[epoch].crypto.write(data)
        found = self.tls.poll_secrets()
        self.secrets += found
        for epoch, is_write, suite, secret in found:
            if epoch is Epoch.HANDSHAKE:
                space = self.handshake
                (space.set_write if is_write else space.set_read)(suite, secret)
        if self.tls.is_complete and self.keys is None:
            one_rtt = [s for s in self.secrets if s.epoch is Epoch.APPLICATION]
            write = next(s for s in one_rtt if s.is_write)
            read = next(s for s in one_rtt if not s.is_write)
            self.keys = KeyPhases(write.suite, write.secret, read.secret)
