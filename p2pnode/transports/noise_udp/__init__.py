"""noise-udp, revision 1: Noise-encrypted, QUIC-grade connections over UDP (specs/transport.md).

Reading order: `frame`, `packet` (bytes) - `path`, `handshake`, `connection` (one peer) - `endpoint`
(all sockets, many peers).  What is delivered, and how, is in `p2pnode.transports.delivery`.
"""
