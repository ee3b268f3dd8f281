"""Peers on the official libp2p libraries, and what drives them."""
