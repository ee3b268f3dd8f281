"""These tests make networks in the kernel: they are skipped where that is not allowed."""

from collections.abc import Generator

import pytest

from tests.support.file_lock import locked
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


@pytest.fixture
def undisturbed(
    _rights: None, tmp_path_factory: pytest.TempPathFactory
) -> Generator[None, None, None]:
    """None of those that use this runs beside another one, whichever process they are run by.

    For tests that bound how long processes take, and for those whose processes go before all
    others.
    """
    # What several workers share is one above their own.
    with locked(tmp_path_factory.getbasetemp().parent / "undisturbed.lock"):
        yield
