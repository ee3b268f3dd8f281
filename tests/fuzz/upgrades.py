"""The upgrade of a byte link, and a peer whose bytes, and where they are cut, are a fuzzer's."""

import random

from p2pnode.identity.keys import PrivateKey
from p2pnode.noise.payload import MAX_PAYLOAD_SIZE
from p2pnode.transports.stream_upgrade.upgrade import (
    MAX_HANDSHAKE_MESSAGE,
    UPGRADE_TIMEOUT,
    StreamUpgrade,
    UpgradeCredentials,
    Upgraded,
)
from tests.fuzz.choices import Choices

_ENTROPY = random.Random(11).randbytes
_CREDENTIALS = UpgradeCredentials.create(PrivateKey.generate(_ENTROPY), _ENTROPY)


def fuzz_upgrade(data: bytes) -> None:
    """Nothing raises, little is answered, nobody is authenticated, and there is an end."""
    for is_initiator in (True, False):
        upgrade = StreamUpgrade(
            _CREDENTIALS, is_initiator=is_initiator, expected=None, entropy=_ENTROPY, now=0.0
        )
        choices = Choices(data)
        answered = len(upgrade.poll_output())
        while upgrade.outcome is None and not choices.is_empty:
            upgrade.handle_data(choices.take(1 + choices.byte() % 64))
            answered += len(upgrade.poll_output())
            assert len(upgrade._arrived) <= MAX_HANDSHAKE_MESSAGE + 2
        upgrade.handle_timeout(UPGRADE_TIMEOUT)
        assert upgrade.outcome is not None
        assert not isinstance(upgrade.outcome, Upgraded)
        assert answered <= MAX_PAYLOAD_SIZE
