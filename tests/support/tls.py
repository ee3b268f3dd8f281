"""Two TLS engines against each other, and an engine against aioquic's own client or server."""

import random
from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic.buffer import Buffer

from p2pnode.errors import TransportError
from p2pnode.transports.quic_v1.certificate import TlsCredentials
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.tls_engine import TlsEngine, TrafficSecret
from tests.support.certificates import NOW
from tests.support.identities import private_key

CLIENT = TlsCredentials.create(private_key("client"), random.Random("client").randbytes, NOW)
SERVER = TlsCredentials.create(private_key("server"), random.Random("server").randbytes, NOW)
EPOCHS = {
    Epoch.INITIAL: tls.Epoch.INITIAL,
    Epoch.HANDSHAKE: tls.Epoch.HANDSHAKE,
    Epoch.APPLICATION: tls.Epoch.ONE_RTT,
}

Flight = list[tuple[Epoch, bytes]]


def make_client(**other: Any) -> TlsEngine:
    given: dict[str, Any] = {"parameters": b"of client", "expected": None, "unix_now": NOW}
    return TlsEngine(CLIENT, is_client=True, **(given | other))


def make_server(**other: Any) -> TlsEngine:
    given: dict[str, Any] = {"parameters": b"of server", "expected": None, "unix_now": NOW}
    return TlsEngine(SERVER, is_client=False, **(given | other))


class End:
    """A machine of TLS with all that came out of it."""

    def __init__(self, engine: TlsEngine) -> None:
        self.engine = engine
        self.secrets: list[TrafficSecret] = []
        self.error: TransportError | None = None
        self._flight: Flight = []
        if engine.is_client:
            engine.start()

    def poll(self) -> Flight:
        self._drain()
        flight, self._flight = self._flight, []
        return flight

    def take(self, flight: Flight) -> None:
        for epoch, data in flight:
            try:
                self.engine.handle_crypto(epoch, data)
            except TransportError as error:
                self.error = self.error or error
            self._drain()

    def _drain(self) -> None:
        self.secrets += self.engine.poll_secrets()
        self._flight += self.engine.poll_output()


class AioquicEnd:
    """aioquic's own context, which a test may change."""

    def __init__(self, context: tls.Context) -> None:
        self.context = context
        self.secrets: list[tuple[tls.Direction, tls.Epoch, int, bytes]] = []
        self.error: tls.Alert | None = None
        self._buffers = {epoch: Buffer(capacity=20000) for epoch in tls.Epoch}
        context.update_traffic_key_cb = lambda *secret: self.secrets.append(secret)
        if context.state is tls.State.CLIENT_HANDSHAKE_START:
            context.handle_message(b"", self._buffers)

    def poll(self) -> Flight:
        flight = [
            (ours, self._buffers[theirs].data)
            for ours, theirs in EPOCHS.items()
            if self._buffers[theirs].tell()
        ]
        for buffer in self._buffers.values():
            buffer.seek(0)
        return flight

    def take(self, flight: Flight) -> None:
        for _, data in flight:
            try:
                self.context.handle_message(data, self._buffers)
            except tls.Alert as alert:
                self.error = self.error or alert


def aioquic_context(*, is_client: bool, parameters: bytes = b"of aioquic") -> tls.Context:
    """Returns a context as aioquic's QuicConnection makes it, with a libp2p certificate."""
    credentials = CLIENT if is_client else SERVER
    context = tls.Context(
        is_client=is_client, alpn_protocols=["libp2p"], verify_mode=0, cipher_suites=None
    )
    context.certificate = credentials.certificate
    context.certificate_private_key = credentials.private_key
    context.handshake_extensions = [(0x39, parameters)]
    context._request_client_certificate = not is_client
    return context


Change = Callable[[Flight], Flight]


def shake(
    client: End | AioquicEnd,
    server: End | AioquicEnd,
    *,
    from_client: Change = lambda flight: flight,
    from_server: Change = lambda flight: flight,
) -> None:
    """Carries flights until nobody has more to say; `from_*` may change them on the way."""
    for _ in range(10):
        there, back = client.poll(), server.poll()
        if not there and not back:
            return
        server.take(from_client(there))
        client.take(from_server(back))
    raise AssertionError("the handshake goes on for ever")
