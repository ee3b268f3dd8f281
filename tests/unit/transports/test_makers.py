"""The one place that names all transports: p2pnode/transports/makers.py."""

from random import Random

from p2pnode.clock import UnixTime
from p2pnode.transports.commons import Commons
from p2pnode.transports.makers import SPOKEN, all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.registry import make_transports
from tests.support.identities import private_key


def test_what_a_node_is_said_to_speak_is_what_it_speaks() -> None:
    entropy = Random("node").randbytes
    makers = all_makers(TransportConfig(), secret=bytes(32), entropy=entropy, rng=Random("node"))
    made = make_transports(makers, private_key("us"), Commons(), now=0.0, unix_now=UnixTime(0.0))
    assert made.names == SPOKEN
