"""Whether anything is heard over UDP, stepped by hand."""

import pytest

from p2pnode.protocols.nat_behaviour.udp_silence import (
    MAX_HOSTS_COUNTED,
    SILENCE_TIME,
    UdpSilence,
    silence_text,
)


@pytest.mark.spec("NATB-22")
def test_silence_is_told_some_time_after_the_first_packet() -> None:
    silence = UdpSilence()
    assert silence.silent_hosts(100.0) == 0, "nobody was asked"
    silence.on_sent(["1.1.1.1", "1.1.1.1"], 100.0)
    silence.on_sent(["2.2.2.2"], 103.0)

    assert silence.silent_hosts(100.0 + SILENCE_TIME - 0.1) == 0
    assert silence.silent_hosts(100.0 + SILENCE_TIME) == 2


@pytest.mark.spec("NATB-22")
def test_one_packet_ends_it_in_this_network_for_good() -> None:
    silence = UdpSilence()
    silence.on_sent(["1.1.1.1"], 0.0)
    silence.on_heard()
    assert silence.is_over
    silence.on_sent(["2.2.2.2"], 1.0)
    assert silence.silent_hosts(1000.0) == 0

    silence.on_network_changed()
    assert not silence.is_over
    assert silence.silent_hosts(1000.0) == 0, "nobody was asked here"
    silence.on_sent(["2.2.2.2"], 1000.0)
    assert silence.silent_hosts(1000.0 + SILENCE_TIME) == 1


def test_no_more_hosts_are_counted_than_may_be() -> None:
    silence = UdpSilence()
    silence.on_sent((f"1.1.{n // 250}.{n % 250}" for n in range(1000)), 0.0)
    assert silence.silent_hosts(SILENCE_TIME) == MAX_HOSTS_COUNTED


def test_it_is_said_of_how_many() -> None:
    assert silence_text(1).endswith("the one host that was tried does not answer")
    assert silence_text(3).endswith("none of the 3 hosts that were tried answers")
