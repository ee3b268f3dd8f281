"""The two builds that meet: the pinned one, and that of the working tree."""

from collections.abc import Generator

import pytest

from p2pnode.testbed import TestBed, missing_rights
from tests.interop.pinned_build.pinned import unpack
from tests.netns.program import Build


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return unpack(tmp_path_factory.mktemp("pinned"))


@pytest.fixture
def bed() -> Generator[TestBed, None, None]:
    reason = missing_rights()
    if reason is not None:
        pytest.skip(reason)
    with TestBed() as bed:
        yield bed
