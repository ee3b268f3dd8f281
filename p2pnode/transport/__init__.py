"""noise-udp, revision 1: Noise-encrypted, QUIC-grade connections over UDP (specs/transport.md).

Reading order: `varint`, `frame`, `packet` (bytes) - `ranges`, `rtt`, `loss_recovery`, `congestion`
(one path's delivery) - `send_stream`, `recv_stream`, `stream_set` (what is delivered) - `path`,
`handshake`, `connection` (one peer) - `endpoint` (one socket, many peers).
"""
