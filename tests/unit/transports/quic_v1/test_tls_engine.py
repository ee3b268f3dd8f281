import random
import warnings

import pytest
from aioquic import tls
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.errors import PeerIdMismatch
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.certificate import TlsCredentials
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.protection import CipherSuite
from p2pnode.transports.quic_v1.tls_engine import MAX_TLS_MESSAGE, TlsEngine
from tests.support.certificates import (
    NOW,
    OTHER_TLS_KEY,
    TLS_KEY,
    Made,
    with_negative_serial_number,
)
from tests.support.identities import peer_id, private_key
from tests.support.tls import (
    CLIENT,
    SERVER,
    AioquicEnd,
    End,
    aioquic_context,
    make_client,
    make_server,
    shake,
)

ALERT = 0x100
BAD_CERTIFICATE, CERTIFICATE_REQUIRED, DECODE_ERROR = 0x12A, 0x174, 0x132
MISSING_EXTENSION, ILLEGAL_PARAMETER, UNEXPECTED_MESSAGE = 0x16D, 0x12F, 0x10A
NO_APPLICATION_PROTOCOL, HANDSHAKE_FAILURE, DECRYPT_ERROR = 0x178, 0x128, 0x133
SUITES = list(CipherSuite)


def message(kind, body):
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def messages(data):
    """Returns the TLS messages in bytes that are whole."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def by_use(end):
    """Returns secrets by (epoch, who writes with it)."""
    is_client = end.engine.is_client
    return {
        (s.epoch, is_client if s.is_write else not is_client): (s.suite, s.secret)
        for s in end.secrets
    }


@pytest.mark.spec("QUIC-12")
@pytest.mark.parametrize("suite", SUITES)
def test_two_engines_prove_each_other_and_share_their_secrets(suite):
    client = End(make_client(suites=(suite,), expected=SERVER.peer_id))
    server = End(make_server())
    shake(client, server)
    assert client.engine.is_complete
    assert server.engine.is_complete
    assert client.engine.peer_id == SERVER.peer_id
    assert server.engine.peer_id == CLIENT.peer_id
    assert client.engine.remote_parameters == b"of server"
    assert server.engine.remote_parameters == b"of client"
    shared = by_use(client)
    assert shared == by_use(server)
    assert {use[0] for use in shared} == {Epoch.HANDSHAKE, Epoch.APPLICATION}
    assert {found for found, _ in shared.values()} == {suite}
    assert len({secret for _, secret in shared.values()}) == 4


def test_secrets_come_in_the_order_in_which_they_may_be_used():
    client, server = End(make_client()), End(make_server())
    shake(client, server)
    order = [(s.epoch, s.is_write) for s in client.secrets]
    assert order == [
        (Epoch.HANDSHAKE, False), (Epoch.HANDSHAKE, True),
        (Epoch.APPLICATION, False), (Epoch.APPLICATION, True),
    ]  # fmt: skip
    order = [(s.epoch, s.is_write) for s in server.secrets]
    assert order == [
        (Epoch.HANDSHAKE, True), (Epoch.HANDSHAKE, False),
        (Epoch.APPLICATION, True), (Epoch.APPLICATION, False),
    ]  # fmt: skip


def test_the_server_chooses_its_own_best_suite():
    best = (CipherSuite.CHACHA20_POLY1305_SHA256, CipherSuite.AES_128_GCM_SHA256)
    client, server = End(make_client()), End(make_server(suites=best))
    shake(client, server)
    assert {secret.suite for secret in client.secrets} == {best[0]}


@pytest.mark.parametrize("group", [tls.Group.X25519, tls.Group.SECP256R1])
def test_aioquic_dials_an_engine(group):
    context = aioquic_context(is_client=True)
    context._supported_groups = [group]
    client, server = AioquicEnd(context), End(make_server())
    shake(client, server)
    assert context.state is tls.State.CLIENT_POST_HANDSHAKE
    assert server.engine.is_complete
    assert server.engine.peer_id == CLIENT.peer_id
    assert server.engine.remote_parameters == b"of aioquic"
    assert sorted(s[3] for s in client.secrets) == sorted(s.secret for s in server.secrets)


def test_an_engine_dials_aioquic():
    context = aioquic_context(is_client=False)
    client, server = End(make_client(expected=SERVER.peer_id)), AioquicEnd(context)
    shake(client, server)
    assert context.state is tls.State.SERVER_POST_HANDSHAKE
    assert context._peer_certificate == CLIENT.certificate
    assert client.engine.peer_id == SERVER.peer_id
    assert sorted(s[3] for s in server.secrets) == sorted(s.secret for s in client.secrets)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 300))
def test_bytes_may_come_cut_anywhere(seed, most):
    rng = random.Random(seed)

    def cut(flight):
        parts = []
        for epoch, data in flight:
            while data:
                size = rng.randint(1, most)
                parts.append((epoch, data[:size]))
                data = data[size:]
        return parts

    client, server = End(make_client()), End(make_server())
    shake(client, server, from_client=cut, from_server=cut)
    assert client.engine.is_complete
    assert server.engine.is_complete


def test_the_client_sends_no_server_name_and_no_ticket_and_two_groups():
    [(epoch, data)] = End(make_client()).poll()
    assert epoch is Epoch.INITIAL
    hello = tls.pull_client_hello(tls.Buffer(data=data))
    assert hello.server_name is None
    assert hello.pre_shared_key is None
    assert not hello.early_data
    assert hello.psk_key_exchange_modes is None
    assert hello.legacy_session_id == b""
    assert hello.alpn_protocols == ["libp2p"]
    assert [group for group, _ in hello.key_share] == [tls.Group.X25519, tls.Group.SECP256R1]
    assert len(data) < 500, "the ClientHello is to fit one Initial"


@pytest.mark.spec("QUIC-13")
def test_a_server_refuses_a_client_without_certificate():
    context = aioquic_context(is_client=True)
    context.certificate = None
    client, server = AioquicEnd(context), End(make_server())
    shake(client, server)
    assert context.state is tls.State.CLIENT_POST_HANDSHAKE, "a client thinks it is connected"
    assert server.error.code == CERTIFICATE_REQUIRED
    assert not server.engine.is_complete
    assert server.engine.peer_id is None
    # 1-RTT data of such a client cannot even be read
    assert [(s.epoch, s.is_write) for s in server.secrets][2:] == [(Epoch.APPLICATION, True)]


def with_certificate(is_client, made, key=TLS_KEY):
    context = aioquic_context(is_client=is_client)
    context.certificate = made.build()
    context.certificate_private_key = key
    return context


def two_certificates(is_client):
    context = aioquic_context(is_client=is_client)
    context.certificate_chain = [Made().build()]
    return context


WRONG = {
    "two": two_certificates,
    "expired": lambda is_client: with_certificate(is_client, Made(end=NOW - 1)),
    "wrong signature": lambda is_client: with_certificate(is_client, Made(signed_by_host=b"x")),
    "signed by another": lambda is_client: with_certificate(is_client, Made(signer=OTHER_TLS_KEY)),
    "no libp2p key": lambda is_client: with_certificate(is_client, Made(has_extension=False)),
}


@pytest.mark.spec("QUIC-13")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_certificate_is_refused_by_server_and_client(name):
    server = End(make_server())
    shake(AioquicEnd(WRONG[name](True)), server)
    client = End(make_client())
    shake(client, AioquicEnd(WRONG[name](False)))
    for end in (server, client):
        assert end.error.code == BAD_CERTIFICATE
        assert str(end.engine.refusal) == end.error.reason
        assert not end.engine.is_complete
        assert end.engine.peer_id is None
    assert {s.epoch for s in client.secrets} == {Epoch.HANDSHAKE}


@pytest.mark.spec("QUIC-12")
def test_whose_key_does_not_sign_the_handshake_is_not_who_the_certificate_names():
    """Somebody shows another's certificate, which is public."""
    server = End(make_server())
    shake(AioquicEnd(with_certificate(True, Made(), OTHER_TLS_KEY)), server)
    client = End(make_client(expected=peer_id("a")))
    shake(client, AioquicEnd(with_certificate(False, Made(), OTHER_TLS_KEY)))
    for end in (server, client):
        assert end.error.code == DECRYPT_ERROR
        assert end.engine.peer_id is None
        assert not end.engine.is_complete


@pytest.mark.spec("QUIC-12")
def test_another_peer_than_dialled_is_refused():
    client, server = End(make_client(expected=peer_id("x"))), End(make_server())
    shake(client, server)
    assert client.error.code == BAD_CERTIFICATE
    refusal = client.engine.refusal
    assert isinstance(refusal, PeerIdMismatch)
    assert (refusal.expected, refusal.actual) == (peer_id("x"), SERVER.peer_id)
    assert not server.engine.is_complete


@pytest.mark.parametrize("protocols", [None, ["h3"], []])
def test_without_the_right_alpn_there_is_no_handshake(protocols):
    context = aioquic_context(is_client=True)
    context._alpn_protocols = protocols
    server = End(make_server())
    shake(AioquicEnd(context), server)
    assert server.error.code == NO_APPLICATION_PROTOCOL
    assert server.secrets == []
    context = aioquic_context(is_client=False)
    context._alpn_protocols = None
    client = End(make_client())
    shake(client, AioquicEnd(context))
    assert client.error.code == NO_APPLICATION_PROTOCOL


@pytest.mark.parametrize(
    ("extensions", "code"),
    [([], MISSING_EXTENSION), ([(0x39, b"a"), (0x39, b"b")], ILLEGAL_PARAMETER)],
)
def test_transport_parameters_come_once(extensions, code):
    for is_client in (True, False):
        context = aioquic_context(is_client=is_client)
        context.handshake_extensions = extensions
        theirs = AioquicEnd(context)
        ours = End(make_server() if is_client else make_client())
        shake(theirs, ours) if is_client else shake(ours, theirs)
        assert ours.error.code == code
        assert not ours.engine.is_complete
    assert ours.engine.poll_output() == []


def test_a_server_that_refuses_a_hello_answers_nothing():
    context = aioquic_context(is_client=True)
    context.handshake_extensions = []
    server = End(make_server())
    server.take(AioquicEnd(context).poll())
    assert server.error.code == MISSING_EXTENSION
    assert server.poll() == []
    assert server.secrets == []


def test_a_session_id_of_middlebox_compatibility_is_a_violation():
    """RFC 9001 section 8.4."""
    context = tls.Context(is_client=True, alpn_protocols=["libp2p"], verify_mode=0)
    context.handshake_extensions = [(0x39, b"")]
    context.legacy_session_id = bytes(32)
    server = End(make_server())
    server.take(AioquicEnd(context).poll())
    assert server.error.code == ErrorCode.PROTOCOL_VIOLATION


def test_a_server_name_is_not_looked_at():
    context = aioquic_context(is_client=True)
    context._server_name = "example.com"
    server = End(make_server())
    shake(AioquicEnd(context), server)
    assert server.engine.is_complete


@pytest.mark.spec("QUIC-14")
def test_tickets_are_neither_given_nor_used():
    asked = aioquic_context(is_client=True)
    asked.new_session_ticket_cb = lambda ticket: pytest.fail("a ticket")
    client, server = AioquicEnd(asked), End(make_server())
    shake(client, server)
    assert server.engine.is_complete
    assert server.poll() == []
    kept = []
    first, ours = aioquic_context(is_client=False), End(make_client())
    first.new_session_ticket_cb = kept.append
    shake(ours, AioquicEnd(first))
    assert ours.engine.is_complete
    ours.engine.handle_crypto(Epoch.APPLICATION, message(4, bytes(100)) + message(4, bytes(9)))
    assert ours.poll() == []


@pytest.mark.spec("QUIC-14")
def test_nothing_but_tickets_comes_after_the_handshake():
    for kind in (1, 2, 8, 11, 13, 15, 20, 24):
        client, server = End(make_client()), End(make_server())
        shake(client, server)
        for end in (client, server):
            end.take([(Epoch.APPLICATION, message(kind, b"body"))])
            assert end.error.code == UNEXPECTED_MESSAGE
    client, server = End(make_client()), End(make_server())
    shake(client, server)
    server.take([(Epoch.APPLICATION, message(4, b"body"))])
    assert server.error.code == UNEXPECTED_MESSAGE


@pytest.mark.spec("QUIC-15")
def test_messages_in_another_epoch_than_theirs_are_a_violation():
    right = {Epoch.INITIAL: Epoch.HANDSHAKE, Epoch.HANDSHAKE: Epoch.INITIAL}
    for wrong in ("hello", "handshake"):
        client, server = End(make_client()), End(make_server())
        there = client.poll()
        if wrong == "hello":
            server.take([(right[epoch], data) for epoch, data in there])
            assert server.error.code == ErrorCode.PROTOCOL_VIOLATION
            continue
        server.take(there)
        flight = server.poll()
        client.take(flight[:1])
        client.take([(right[epoch], data) for epoch, data in flight[1:]])
        assert client.error.code == ErrorCode.PROTOCOL_VIOLATION


@pytest.mark.spec("QUIC-15")
def test_messages_that_run_over_a_change_of_keys_are_a_violation():
    client, server = End(make_client()), End(make_server())
    server.take(client.poll())
    (initial, hello), (_, rest) = server.poll()
    client.take([(initial, hello + rest[:5])])
    assert client.error.code == ErrorCode.PROTOCOL_VIOLATION
    assert client.poll() == []
    client, server = End(make_client()), End(make_server())
    server.take(client.poll())
    client.take(server.poll())
    [(handshake, last)] = client.poll()
    server.take([(handshake, last + message(4, b""))])
    assert server.error.code == ErrorCode.PROTOCOL_VIOLATION
    assert not server.engine.is_complete


@pytest.mark.spec("QUIC-15")
def test_a_message_that_is_too_long_is_refused_before_it_is_gathered():
    for end, kind in ((End(make_server()), 1), (End(make_client()), 2)):
        end.take([(Epoch.INITIAL, bytes([kind]) + (MAX_TLS_MESSAGE - 3).to_bytes(3, "big"))])
        assert end.error.code == DECODE_ERROR
    end = End(make_server())
    end.take([(Epoch.INITIAL, b"\x01" + (MAX_TLS_MESSAGE - 4).to_bytes(3, "big"))])
    assert end.error is None


def test_what_cryptography_warns_of_in_a_certificate_is_not_written_anywhere():
    context = aioquic_context(is_client=True)
    context.certificate = with_negative_serial_number()
    context.certificate_private_key = TLS_KEY
    server = End(make_server())
    client = AioquicEnd(context)
    with warnings.catch_warnings(action="error"):
        shake(client, server)
    assert server.engine.peer_id == peer_id("a")


def test_a_failed_engine_takes_nothing_more():
    server = End(make_server())
    server.take([(Epoch.INITIAL, message(2, b"not a ClientHello"))])
    assert server.error.code == UNEXPECTED_MESSAGE
    server.engine.handle_crypto(Epoch.INITIAL, End(make_client()).poll()[0][1])
    assert server.poll() == []


def test_a_hello_retry_request_is_refused():
    """aioquic knows none; those with whom we share no group have none of TLS 1.3's own."""
    retry_random = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    extensions = bytes.fromhex("002b00020304" + "003300020017")
    body = b"\x03\x03" + retry_random + b"\0" + b"\x13\x01" + b"\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    client = End(make_client())
    client.take([(Epoch.INITIAL, message(2, body))])
    assert client.error.code & ~0xFF == ALERT


@settings(max_examples=60, deadline=None)
@given(
    where=st.integers(0, 3),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), max_size=5),
)
def test_a_changed_flight_completes_nothing_that_was_not_proven(where, changes):
    count = 0

    def change(flight):
        nonlocal count
        result = []
        for epoch, data in flight:
            changed = bytearray(data)
            if count == where:
                for index, mask in changes:
                    changed[index % len(changed)] ^= mask
            count += 1
            result.append((epoch, bytes(changed)))
        return result

    client, server = End(make_client()), End(make_server())
    shake(client, server, from_client=change, from_server=change)
    for end, other in ((client, SERVER), (server, CLIENT)):
        assert end.engine.peer_id in (None, other.peer_id)
        assert end.engine.is_complete == (end.engine.peer_id is not None)
        if end.error is not None:
            assert ALERT <= end.error.code < 2 * ALERT or end.error.code == 0x0A


@settings(max_examples=100, deadline=None)
@given(kind=st.integers(0, 30), body=st.binary(max_size=300), is_client=st.booleans())
def test_any_first_message_raises_nothing_else(kind, body, is_client):
    end = End(make_client() if is_client else make_server())
    end.take([(Epoch.INITIAL, message(kind, body))])
    assert not end.engine.is_complete


def test_what_aioquic_raises_of_any_kind_is_contained(monkeypatch):
    def fail(*_: object) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr(tls.Context, "_server_handle_hello", fail)
    server = End(make_server())
    server.take(End(make_client()).poll())
    assert server.error.code == 0x150
    assert "IndexError" in server.error.reason


def test_the_certificate_of_a_peer_is_judged_by_the_clock_that_is_given():
    late = TlsCredentials.create(private_key("late"), random.Random(1).randbytes, NOW + 9000)
    engine = TlsEngine(late, is_client=True, parameters=b"", expected=None, unix_now=NOW)
    server = End(make_server())
    shake(End(engine), server)
    assert server.error.code == BAD_CERTIFICATE
    engine = TlsEngine(late, is_client=True, parameters=b"", expected=None, unix_now=NOW)
    server = End(make_server(unix_now=NOW + 9000))
    shake(End(engine), server)
    assert server.engine.peer_id == late.peer_id
