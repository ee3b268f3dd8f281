"""Hypothesis: no deadlines, and the same examples in every run, so that a first run passes.

`HYPOTHESIS_PROFILE=explore pytest` tries examples that nobody has tried yet.
"""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
