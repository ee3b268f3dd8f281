"""Attackers on whole nodes: the transport's own parts with every honest limit taken out.

Without I/O, so that they attack simulated nodes and, in a process of their own, real ones:
`python -m tests.siege.program`.  Over a circuit a whole node attacks, in a process only:
`python -m tests.siege.provoker`.  What they do is the table of threats in specs/security.md.
"""
