"""aioquic's QuicConnection as a libp2p peer in virtual time: an independent oracle for QUIC.

Datagrams go in and out as bytes, `now` is an argument.  Its certificate, and the judgement on the
other side's, are this project's; packets, streams, loss recovery and TLS are aioquic's own.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from p2pnode.identity.peer_id import PeerId
from p2pnode.transports.quic_v1.certificate import TlsCredentials, peer_of_certificate_untrusted
from p2pnode.transports.quic_v1.packet import PacketType, encode_retry, split_datagram_untrusted
from tests.support.certificates import NOW
from tests.support.tls import CLIENT, SERVER

PATH: Final = ("192.0.2.1", 4001)
"""aioquic wants to know an address; where datagrams go is the test's to decide."""
RETRY_ID: Final = b"retry id"
RETRY_TOKEN: Final = b"proof of an address"
MAX_ROUNDS: Final = 100_000
"""of `exchange`, which a machine that answers its own answers would never leave"""


class DatagramEnd(Protocol):
    """What `exchange` needs of either end."""

    def receive(self, datagram: bytes, now: float) -> None: ...

    def poll(self, now: float) -> list[bytes]: ...

    def poll_timeout(self) -> float | None: ...

    def handle_timeout(self, now: float) -> None: ...


def exchange(
    client: DatagramEnd,
    server: DatagramEnd,
    now: float,
    seconds: float,
    lose: Callable[[int], bool] = lambda number: False,
) -> float:
    """Carries datagrams at once and fires timers as they are due; returns the time at the end.

    `lose` is asked about each datagram, counted from 1.
    """
    end, number = now + seconds, 0
    for _ in range(MAX_ROUNDS):
        there, back = client.poll(now), server.poll(now)
        for datagrams, target in ((there, server), (back, client)):
            for datagram in datagrams:
                number += 1
                if not lose(number):
                    target.receive(datagram, now)
        if there or back:
            continue
        times = [at for each in (client, server) if (at := each.poll_timeout()) is not None]
        if min(times, default=end) >= end:
            return end
        now = max(now, min(times))
        for each in (client, server):
            each.handle_timeout(now)
    raise AssertionError("they talk without end")


class _Connection(QuicConnection):
    """Asks for a certificate as a server, and takes one of libp2p only."""

    peer_id: PeerId | None = None
    shows_certificate = True
    extra_certificates: tuple[Any, ...] = ()

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = not self._is_client
        self.tls.certificate_chain = list(self.extra_certificates)
        if not self.shows_certificate:
            self.tls.certificate = None
        take = self.tls._set_peer_certificate

        def check(certificate: tls.Certificate) -> None:
            [(der, _)] = certificate.certificates
            self.peer_id = peer_of_certificate_untrusted(der, NOW)
            take(certificate)

        self.tls._set_peer_certificate = check


class AioquicPeer:
    """One end of one connection; a server comes to life with the first datagram."""

    def __init__(
        self,
        *,
        is_client: bool,
        credentials: TlsCredentials | None = None,
        shows_certificate: bool = True,
        extra_certificates: tuple[Any, ...] = (),
        sends_retry: bool = False,
        now: float = 0.0,
        **configuration: Any,
    ) -> None:
        """`sends_retry`: a server that lets nobody in at once (RFC 9000 section 8.1.2).

        `configuration` are further fields of aioquic's QuicConfiguration.
        """
        credentials = credentials or (CLIENT if is_client else SERVER)
        self._configuration = QuicConfiguration(
            is_client=is_client,
            alpn_protocols=["libp2p"],
            verify_mode=0,
            certificate=credentials.certificate,
            private_key=credentials.private_key,
            **configuration,
        )
        self._shows_certificate = shows_certificate
        self._extra_certificates = extra_certificates
        self._sends_retry = sends_retry
        self._asked: bytes | None = None
        self._retries: list[bytes] = []
        self.connection: _Connection | None = None
        self.events: list[QuicEvent] = []
        """All that happened, oldest first."""
        self.received: dict[int, bytearray] = {}
        """What came, by stream."""
        self.ended: set[int] = set()
        """Streams that the other side has finished."""
        self.resets: dict[int, int] = {}
        """Codes of streams that the other side reset."""
        self.stops: dict[int, int] = {}
        """Codes of streams that the other side does not read any more."""
        self.is_complete = False
        self.closed: ConnectionTerminated | None = None
        if is_client:
            self.connection = self._make()
            self.connection.connect(PATH, now)

    @property
    def peer_id(self) -> PeerId | None:
        """Whose certificate came."""
        return None if self.connection is None else self.connection.peer_id

    @property
    def quic(self) -> _Connection:
        """aioquic's object, for whatever this class has no word for."""
        assert self.connection is not None, "nobody has dialled yet"
        return self.connection

    def receive(self, datagram: bytes, now: float) -> None:
        if self.connection is None:
            self._accept(datagram)
        if self.connection is None:
            return
        self.connection.receive_datagram(datagram, PATH, now)
        self._collect()

    def poll(self, now: float) -> list[bytes]:
        """Returns the datagrams to send now."""
        if self.connection is None:
            retries, self._retries = self._retries, []
            return retries
        datagrams = [data for data, _ in self.connection.datagrams_to_send(now)]
        self._collect()
        return datagrams

    def poll_timeout(self) -> float | None:
        return None if self.connection is None else self.connection.get_timer()

    def handle_timeout(self, now: float) -> None:
        at = self.poll_timeout()
        if at is not None and now >= at:
            self.quic.handle_timer(now)
            self._collect()

    def open_stream(self) -> int:
        """Returns the id of a new bidirectional stream; the other side hears of it with data."""
        return self.quic.get_next_available_stream_id()

    def send(self, stream_id: int, data: bytes, *, fin: bool = False) -> None:
        self.quic.send_stream_data(stream_id, data, fin)

    def close(self, code: int = 0, reason: str = "") -> None:
        self.quic.close(code, reason_phrase=reason)

    def _accept(self, datagram: bytes) -> None:
        packets = split_datagram_untrusted(datagram, 8)
        if not packets or packets[0].kind is not PacketType.INITIAL:
            return
        initial = packets[0]
        if not self._sends_retry:
            self.connection = self._make(original=initial.destination)
        elif not initial.token:
            self._asked = initial.destination
            self._retries.append(
                encode_retry(initial.source, RETRY_ID, RETRY_TOKEN, initial.destination)
            )
        elif (initial.token, initial.destination) == (RETRY_TOKEN, RETRY_ID):
            self.connection = self._make(original=self._asked, retry_source=RETRY_ID)

    def _make(
        self, original: bytes | None = None, retry_source: bytes | None = None
    ) -> _Connection:
        connection = _Connection(
            configuration=self._configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=retry_source,
        )
        connection.shows_certificate = self._shows_certificate
        connection.extra_certificates = self._extra_certificates
        return connection

    def _collect(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
            match event:
                case HandshakeCompleted():
                    self.is_complete = True
                case StreamDataReceived():
                    self.received.setdefault(event.stream_id, bytearray()).extend(event.data)
                    if event.end_stream:
                        self.ended.add(event.stream_id)
                case StreamReset():
                    self.resets[event.stream_id] = event.error_code
                case StopSendingReceived():
                    self.stops[event.stream_id] = event.error_code
                case ConnectionTerminated():
                    self.closed = event
                case _:
                    pass
