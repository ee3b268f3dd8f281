"""Whether anything is heard over UDP, stepped by hand."""

import pytest

from p2pnode.protocols.nat_behaviour.udp_silence import (
    MAX_HOSTS_COUNTED,
    SILENCE_TIME,
    Silence,
    UdpSilence,
    silence_text,
)


@pytest.mark.spec("NATB-22")
def test_silence_is_told_some_time_after_the_first_packet() -> None:
    silence = UdpSilence()
    assert silence.found(100.0) is None, "nobody was asked"
    silence.on_sent(["1.1.1.1", "1.1.1.1"], 100.0)
    silence.on_sent(["2.2.2.2"], 103.0)

    assert silence.found(100.0 + SILENCE_TIME - 0.1) is None
    assert silence.found(100.0 + SILENCE_TIME) == Silence(2)


@pytest.mark.spec("NATB-22")
def test_one_packet_ends_it_in_this_network_for_good() -> None:
    silence = UdpSilence()
    silence.on_sent(["1.1.1.1"], 0.0)
    silence.on_heard()
    assert silence.is_over
    silence.on_sent(["2.2.2.2"], 1.0)
    assert silence.found(1000.0) is None

    silence.on_network_changed()
    assert not silence.is_over
    assert silence.found(1000.0) is None, "nobody was asked here"
    silence.on_sent(["2.2.2.2"], 1000.0)
    assert silence.found(1000.0 + SILENCE_TIME) == Silence(1)


def test_no_more_hosts_are_counted_than_may_be() -> None:
    silence = UdpSilence()
    silence.on_sent((f"1.1.{n // 250}.{n % 250}" for n in range(1000)), 0.0)
    assert silence.found(SILENCE_TIME) == Silence(MAX_HOSTS_COUNTED)


@pytest.mark.spec("NATB-23")
def test_hosts_that_answer_over_tcp_count_where_they_were_tried_over_udp() -> None:
    silence = UdpSilence()
    silence.on_sent(["1.1.1.1", "2.2.2.2", "3.3.3.3"], 0.0)
    over_tcp = ["2.2.2.2", "1.1.1.1", "2.2.2.2", "9.9.9.9"]
    assert silence.found(SILENCE_TIME, over_tcp) == Silence(3, 2)
    silence.on_heard()
    assert silence.found(SILENCE_TIME, over_tcp) is None


@pytest.mark.spec("NATB-23")
def test_one_host_that_answers_over_tcp_alone_may_have_a_firewall_of_its_own() -> None:
    assert [Silence(3, over_tcp).is_ours for over_tcp in range(4)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("silence", "text"),
    [
        (Silence(1), "nothing is heard over UDP: the one host that was tried does not answer"),
        (Silence(3), "nothing is heard over UDP: none of the 3 hosts that were tried answers"),
        (
            Silence(1, 1),
            "UDP seems to be blocked: the one host that was tried answers over TCP alone, which "
            "carries everything",
        ),
        (
            Silence(3, 2),
            "UDP seems to be blocked: of 3 hosts that were tried none answers over it, and 2 over "
            "TCP, which carries everything",
        ),
    ],
)
def test_it_is_said_of_how_many(silence: Silence, text: str) -> None:
    assert silence_text(silence) == text
