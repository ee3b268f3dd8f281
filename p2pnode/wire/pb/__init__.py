"""libp2p's protobuf messages.  The .proto files are the source, the modules beside them generated.

After a change `poe messages --write` generates them anew, and `poe messages` says whether they are
current (.ci/messages.py).  The compiler's version is pinned, as a development dependency.

Its output carries no runtime version check, so that it runs with every protobuf that
pyproject.toml admits.  The package and file names are ours: the registry of protobuf descriptors is
one a process, and another libp2p implementation may be loaded beside us.

Messages inside messages are declared as bytes and parsed apart, which is the same on the wire: so
their canonical form can be checked, and one bad address does not spoil the whole message.
"""
