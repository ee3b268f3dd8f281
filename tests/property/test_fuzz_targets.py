"""Every fuzz target for a few examples, without a fuzzer: good input, changed input, any input."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.choices import Choices
from tests.fuzz.seeds import FOUND, SEEDS
from tests.fuzz.targets import TARGETS

WHOLE_CONNECTIONS = ["authenticated_peer", "endpoint", "handshake", "quic_tls", "swarm", "tcp"]
CODECS = [name for name in TARGETS if name not in WHOLE_CONNECTIONS]


def inputs(name):
    changed = st.builds(
        lambda seed, how: Choices(how).mutate(seed),
        st.sampled_from(SEEDS[name]),
        st.binary(max_size=30),
    )
    return changed | st.binary(max_size=200)


def test_every_target_has_seeds():
    assert list(SEEDS) == list(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_taken(name):
    for seed in [b"", *SEEDS[name]]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", FOUND)
def test_what_a_fuzzer_found_stays_mended(name):
    for data in FOUND[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=60)
@given(data=st.data())
def test_decoders_raise_what_they_may_and_machines_nothing(name, data):
    TARGETS[name](data.draw(inputs(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE_CONNECTIONS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_connections_take_anything(name, data):
    TARGETS[name](data.draw(inputs(name)))
