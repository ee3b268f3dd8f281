"""What transports over datagrams share: delivery of streams, and of one path's packets.

It knows neither packets nor keys.  Reading order: `varint`, `frame` (bytes) - `ranges`, `rtt`,
`loss_recovery`, `congestion`, `pacing`, `mtu_discovery` (one path, specs/recovery.md) -
`send_stream`, `recv_stream`, `stream_set` (what is delivered, specs/streams.md).
"""
