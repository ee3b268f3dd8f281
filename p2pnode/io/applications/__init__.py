"""What the command line does over a stream: files and pipes.

They see a stream, never a node, so that they run alike over a node's own stream and over one that a
running node lends through its control socket.
"""
