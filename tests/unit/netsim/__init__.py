"""Tests of p2pnode.netsim, file by file."""
