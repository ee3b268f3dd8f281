"""libp2p's protobuf messages.  The .proto files are the source, the modules beside them generated.

To regenerate after a change, from the repository's top folder, in a virtual environment that holds
nothing but `grpcio-tools==1.62.3` and `setuptools<81`:

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. p2pnode/wire/pb/*.proto

That version's output carries no runtime version check, so that it runs with every protobuf that
pyproject.toml admits.  The package and file names are ours: the registry of protobuf descriptors is
one a process, and another libp2p implementation may be loaded beside us.

Messages inside messages are declared as bytes and parsed apart, which is the same on the wire: so
their canonical form can be checked, and one bad address does not spoil the whole message.
"""
