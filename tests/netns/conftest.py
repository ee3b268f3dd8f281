"""These tests make networks in the kernel: they are skipped where that is not allowed."""

from collections.abc import Generator

import pytest

from tests.support.namespaces import Network, missing_rights


@pytest.fixture(scope="session")
def _rights() -> None:
    reason = missing_rights("nft", "tc")
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def network(_rights: None) -> Generator[Network, None, None]:
    """Namespaces and links that are gone after the test, however it ends."""
    with Network() as network:
        yield network
