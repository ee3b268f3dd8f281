"""p2pnode/transport/obstacles.py"""

from p2pnode.machine import Obstacle, SocketId, UdpAddr, Unreachable
from p2pnode.transport.obstacles import obstacle_text


def test_the_size_that_a_network_must_carry_counts_the_headers_of_its_ip_version():
    report = Unreachable(SocketId(0), UdpAddr("2001:db8::1", 7), Obstacle.TOO_BIG, True, b"")
    assert "packets of 1,248 bytes" in obstacle_text(report)
