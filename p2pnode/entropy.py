"""Chance for secrets: keys, connection ids, tokens, challenges.

Jitter and choices take a `random.Random` instead; the two are never mixed, so that a simulation can
seed both and production code cannot reach the seeded one by mistake.
"""

from collections.abc import Callable
from typing import TypeAlias

Entropy: TypeAlias = Callable[[int], bytes]
"""Returns that many unpredictable bytes.  `os.urandom` is wired in `p2pnode.io` only."""
