"""Where chance comes from in a running program: the operating system.

Rule: nothing else in p2pnode calls `os.urandom`; everything takes `entropy` or `rng` instead.
"""

import os
from random import Random

from p2pnode.entropy import Entropy

os_entropy: Entropy = os.urandom
"""Unpredictable bytes, for secrets."""


def os_rng() -> Random:
    """Returns dice for jitter and choices, seeded by the system.  Never for secrets."""
    return Random(os.urandom(32))
