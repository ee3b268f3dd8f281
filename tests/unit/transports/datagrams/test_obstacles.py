"""p2pnode/transports/noise_udp/obstacles.py"""

from p2pnode.machine import Obstacle, SocketAddr, SocketId, Unreachable
from p2pnode.transports.datagrams.obstacles import obstacle_text


def test_the_size_that_a_network_must_carry_counts_the_headers_of_its_ip_version():
    report = Unreachable(SocketId(0), SocketAddr("2001:db8::1", 7), Obstacle.TOO_BIG, True, b"")
    assert "packets of 1,248 bytes" in obstacle_text(report)
