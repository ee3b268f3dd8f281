"""The certificates in libp2p's specification of TLS: three that are right, one that is not."""

import pytest

from p2pnode.clock import UnixTime
from p2pnode.errors import HandshakeError
from p2pnode.transports.quic_v1.certificate import peer_of_certificate_untrusted
from tests.vectors import published_files

CERTIFICATES = published_files.load("libp2p_tls_certificates.json")["certificates"]
NOW = UnixTime(1_800_000_000.0)


def test_all_four_are_there():
    assert [bool(case["peer_id"]) for case in CERTIFICATES] == [True, True, True, False]


@pytest.mark.spec("QUIC-10")
@pytest.mark.parametrize("case", CERTIFICATES, ids=lambda case: case["title"])
def test_a_certificate_tells_the_peer_id_or_is_refused(case):
    der = bytes.fromhex(case["certificate"])
    if case["peer_id"] is None:
        with pytest.raises(HandshakeError, match="host's key"):
            peer_of_certificate_untrusted(der, NOW)
    else:
        assert str(peer_of_certificate_untrusted(der, NOW)) == case["peer_id"]
