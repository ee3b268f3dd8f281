"""QUIC version 1 as libp2p speaks it (RFC 9000, RFC 9001; specs/quic.md)."""
