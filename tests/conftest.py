"""Hypothesis: no deadlines, and the same examples in every run, so that a first run passes.

`HYPOTHESIS_PROFILE=explore pytest` tries examples that nobody has tried yet.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a node, and variables that configure it."""
    for name in ("P2PNODE_DATA", "P2PNODE_QLOG", "P2PNODE_KEYLOG"):
        monkeypatch.delenv(name, raising=False)
