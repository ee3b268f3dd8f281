"""A link until the peer behind it is proved: connecting, then its upgrade.

    ConnectLink --> connecting --LinkConnected--> upgrading --> outcome
    LinkAccepted -------------------------------> upgrading

Rule: all of it has one deadline, which nothing that comes moves.
"""

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import NO_ANSWER, DialTimeout, HandshakeError, P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import LinkCommand, LinkId, WriteLink
from p2pnode.machine import ConnectionHandle
from p2pnode.transports.route import Route
from p2pnode.transports.stream_upgrade.upgrade import (
    StreamUpgrade,
    UpgradeCredentials,
    Upgraded,
    UpgradeFailed,
)


class Opening:
    """One link that may become a connection."""

    __slots__ = (
        "_deadline",
        "_entropy",
        "_expected",
        "_upgrade",
        "began_at",
        "credit",
        "failure",
        "handle",
        "has_refused",
        "is_initiator",
        "link",
        "route",
        "upgraded",
        "waiting",
    )

    def __init__(
        self,
        handle: ConnectionHandle,
        link: LinkId,
        route: Route,
        *,
        is_initiator: bool,
        expected: PeerId | None,
        timeout: float,
        entropy: Entropy,
        now: Instant,
    ) -> None:
        """`is_initiator`: who dialled, or whom the protocol above names."""
        self.handle = handle
        self.link = link
        self.route = route
        self.is_initiator = is_initiator
        self.began_at = now
        self.credit = 0
        self.waiting = b""
        """What came of a stranger and has not had its turn."""
        self.upgraded: Upgraded | None = None
        self.failure: P2PNodeError | None = None
        self.has_refused = False
        """Whether what the peer said was refused, which it may be told; else nobody listens."""
        self._deadline = Deadline(now + timeout, "a TCP link becomes a connection")
        self._expected = expected
        self._entropy = entropy
        self._upgrade: StreamUpgrade | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a link yet."""
        return self._upgrade is not None

    def on_connected(self, credentials: UpgradeCredentials, now: Instant) -> None:
        """There is a link."""
        self._upgrade = StreamUpgrade(
            credentials,
            is_initiator=self.is_initiator,
            expected=self._expected,
            entropy=self._entropy,
            now=now,
        )

    def handle_data(self, data: bytes) -> None:
        """Takes what the link brings.  Untrusted; never raises."""
        assert self._upgrade is not None
        self._upgrade.handle_data(data)
        self._conclude(self._upgrade)
        self.has_refused = self.failure is not None

    def handle_eof(self) -> None:
        """The link brings nothing more."""
        assert self._upgrade is not None
        self._upgrade.handle_eof()
        self._conclude(self._upgrade)

    def handle_timeout(self, now: Instant) -> None:
        """Gives up where the time is over."""
        upgrade = self._upgrade
        if upgrade is not None:
            upgrade.handle_timeout(now)
            self._conclude(upgrade)
        if self.failure is None and now >= self._deadline.at:
            late = HandshakeError("the peer has not proved in time who it is")
            self.failure = DialTimeout(NO_ANSWER) if upgrade is None else late

    def poll_timeout(self) -> Deadline:
        upgrade = None if self._upgrade is None else self._upgrade.poll_timeout()
        return self._deadline if upgrade is None else min(upgrade, self._deadline)

    def poll_commands(self, commands: list[LinkCommand]) -> None:
        """Adds what to write; also behind a failure, so that the peer learns of a refusal."""
        if self._upgrade is None or not self.credit:
            return
        data = self._upgrade.poll_output()[: self.credit]  # all of it is less than the first credit
        if data:
            self.credit -= len(data)
            commands.append(WriteLink(self.link, data))

    def _conclude(self, upgrade: StreamUpgrade) -> None:
        outcome = upgrade.outcome
        if isinstance(outcome, Upgraded):
            self.upgraded = outcome
        elif isinstance(outcome, UpgradeFailed):
            self.failure = outcome.error
