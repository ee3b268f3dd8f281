"""The peers, built when the first test asks for one."""

from collections.abc import Callable

import pytest

from tests.interop.peers.toolchains import BuildFailed, Command, Missing, built, cache_folder


@pytest.fixture(scope="session")
def peer_command() -> Callable[[str], Command]:
    """Skips where no folder is named or the toolchain is missing; fails where there is no peer."""

    def command(name: str) -> Command:
        try:
            return built(name, cache_folder())
        except Missing as reason:
            pytest.skip(str(reason))
        except BuildFailed as reason:
            pytest.fail(str(reason), pytrace=False)

    return command
