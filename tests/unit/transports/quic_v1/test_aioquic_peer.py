"""The oracle itself: two of them in virtual time, before one of them judges anybody."""

import pytest

from tests.support.aioquic_peer import AioquicPeer, exchange
from tests.support.tls import CLIENT, SERVER


def pair(**client):
    return AioquicPeer(is_client=True, **client), AioquicPeer(is_client=False)


def test_two_prove_each_other_and_carry_a_stream():
    client, server = pair()
    stream = client.open_stream()
    client.send(stream, b"question", fin=True)
    now = exchange(client, server, 0.0, 0.1)
    assert client.is_complete
    assert server.is_complete
    assert (client.peer_id, server.peer_id) == (SERVER.peer_id, CLIENT.peer_id)
    assert (server.received[stream], server.ended) == (b"question", {stream})
    server.send(stream, b"answer" * 1000, fin=True)
    exchange(client, server, now, 1.0)
    assert client.received[stream] == b"answer" * 1000


@pytest.mark.parametrize("lost", range(1, 7))
def test_a_lost_datagram_delays_and_harms_nothing(lost):
    client, server = pair()
    client.send(client.open_stream(), b"question", fin=True)
    exchange(client, server, 0.0, 5.0, lose=lambda number: number == lost)
    assert server.received == {0: b"question"}


def test_a_close_is_heard_of():
    client, server = pair()
    now = exchange(client, server, 0.0, 0.1)
    client.close(7, "enough")
    exchange(client, server, now, 1.0)
    assert (server.closed.error_code, server.closed.reason_phrase) == (7, "enough")


def test_it_can_be_a_client_without_certificate_whom_it_takes_itself():
    """So that another server can be asked whether it does."""
    client, server = pair(shows_certificate=False)
    exchange(client, server, 0.0, 0.1)
    assert server.is_complete
    assert server.peer_id is None


def test_a_server_may_answer_with_a_retry_first():
    client, server = AioquicPeer(is_client=True), AioquicPeer(is_client=False, sends_retry=True)
    client.send(client.open_stream(), b"question", fin=True)
    server.receive(client.poll(0.0)[0], 0.0)
    [retry] = server.poll(0.0)
    client.receive(retry, 0.0)
    exchange(client, server, 0.0, 0.1)
    assert client.is_complete
    assert server.received == {0: b"question"}


def test_keys_may_change_early():
    client, server = pair()
    now = exchange(client, server, 0.0, 0.1)
    for part in (b"one ", b"two ", b"three"):
        client.quic.request_key_update()
        client.send(0, part)
        now = exchange(client, server, now, 1.0)
    assert server.received == {0: b"one two three"}
