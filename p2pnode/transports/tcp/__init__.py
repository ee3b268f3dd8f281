"""TCP: libp2p's connections over byte links, secured by Noise and muxed by yamux (specs/tcp.md)."""
