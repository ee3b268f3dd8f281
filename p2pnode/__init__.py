"""p2pnode: a libp2p-style overlay node on trio, where peers help each other through NATs."""
