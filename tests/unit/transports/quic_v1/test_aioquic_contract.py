"""What this node leans on in aioquic 1.7 that its documentation does not promise."""

import datetime
import inspect
import ssl

import pytest
from aioquic import tls
from aioquic.buffer import Buffer

from tests.support.certificates import OTHER_TLS_KEY, Made
from tests.support.tls import AioquicEnd, aioquic_context, shake


def contexts():
    return aioquic_context(is_client=True), aioquic_context(is_client=False)


def test_a_flag_makes_the_server_ask_for_a_certificate():
    client, server = contexts()
    assert "_request_client_certificate" in vars(server)
    shake(AioquicEnd(client), AioquicEnd(server))
    assert server._peer_certificate == client.certificate
    client, server = contexts()
    server._request_client_certificate = False
    shake(AioquicEnd(client), AioquicEnd(server))
    assert server._peer_certificate is None


def test_a_method_takes_the_peers_certificates_before_their_key_is_used(monkeypatch):
    taken = []

    def take(self, certificate):
        taken.append((self._is_client, [der for der, _ in certificate.certificates]))
        raise LookupError("refused")

    monkeypatch.setattr(tls.Context, "_set_peer_certificate", take)
    monkeypatch.setattr(
        tls.Context, "_check_certificate_verify_signature", lambda *_: pytest.fail("too late")
    )
    client, server = contexts()
    with pytest.raises(LookupError):
        shake(AioquicEnd(client), AioquicEnd(server))
    [(is_client, [der])] = taken
    assert is_client
    assert der == server.certificate.public_bytes(tls.Encoding.DER)


@pytest.mark.parametrize("is_client", [True, False])
def test_without_cert_required_the_signature_of_the_handshake_is_checked_still(is_client):
    client, server = contexts()
    forger = client if is_client else server
    forger.certificate = Made().build()
    forger.certificate_private_key = OTHER_TLS_KEY
    ends = AioquicEnd(client), AioquicEnd(server)
    shake(*ends)
    assert isinstance(ends[is_client].error, tls.AlertDecryptError)
    assert ssl.CERT_NONE == 0


def test_an_empty_certificate_of_a_client_is_let_through():
    """So the engine has to look at it: were it refused here, that would not be needed."""
    client, server = contexts()
    client.certificate = None
    shake(AioquicEnd(client), AioquicEnd(server))
    assert server.state is tls.State.SERVER_POST_HANDSHAKE


def test_groups_and_signatures_are_lists_that_the_hello_is_made_of():
    client, _ = contexts()
    client._supported_groups = [tls.Group.X25519]
    client._signature_algorithms = [tls.SignatureAlgorithm.ED25519]
    [(_, data)] = AioquicEnd(client).poll()
    hello = tls.pull_client_hello(Buffer(data=data))
    assert [group for group, _ in hello.key_share] == hello.supported_groups == [0x1D]
    assert hello.signature_algorithms == [0x807]


def test_a_message_is_handled_whole_and_at_once():
    """The engine cuts messages itself, and looks at the state between them."""
    client, server = contexts()
    ours = AioquicEnd(client)
    [(_, hello)] = ours.poll()
    theirs = AioquicEnd(server)
    theirs.take([(None, hello[:-1])])
    assert server.state is tls.State.SERVER_EXPECT_CLIENT_HELLO
    theirs.take([(None, hello[-1:])])
    assert server.state is tls.State.SERVER_EXPECT_CERTIFICATE


def test_the_states_are_those_that_the_engine_tells_epochs_by():
    assert [state.name for state in tls.State] == [
        "CLIENT_HANDSHAKE_START",
        "CLIENT_EXPECT_SERVER_HELLO",
        "CLIENT_EXPECT_ENCRYPTED_EXTENSIONS",
        "CLIENT_EXPECT_CERTIFICATE_REQUEST_OR_CERTIFICATE",
        "CLIENT_EXPECT_CERTIFICATE",
        "CLIENT_EXPECT_CERTIFICATE_VERIFY",
        "CLIENT_EXPECT_FINISHED",
        "CLIENT_POST_HANDSHAKE",
        "SERVER_EXPECT_CLIENT_HELLO",
        "SERVER_EXPECT_CERTIFICATE",
        "SERVER_EXPECT_CERTIFICATE_VERIFY",
        "SERVER_EXPECT_FINISHED",
        "SERVER_POST_HANDSHAKE",
    ]


def test_a_handshake_reads_no_clock(monkeypatch):
    def read():
        raise AssertionError("a clock was read")

    monkeypatch.setattr(tls, "utcnow", read)
    client, server = contexts()
    shake(AioquicEnd(client), AioquicEnd(server))
    assert client.state is tls.State.CLIENT_POST_HANDSHAKE
    assert "utcnow()" in inspect.getsource(tls.SessionTicket.is_valid.fget)
    assert isinstance(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.datetime)


def test_extensions_that_are_not_tls_own_are_handed_over():
    client, server = contexts()
    shake(AioquicEnd(client), AioquicEnd(server))
    assert (0x39, b"of aioquic") in client.received_extensions
    assert (0x39, b"of aioquic") in server.received_extensions
