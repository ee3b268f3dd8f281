"""Validation of ECN on one path (RFC 9000 section 13.4.2; specs/recovery.md, ECN).

    DISABLED                                  by configuration; never left
    TESTING --counts agree----------> CAPABLE
    TESTING --no answer in 3 PTOs---> FAILED  marked packets seem to be dropped
    TESTING, CAPABLE --counts lie---> FAILED  never left: a new path tests anew

Every packet of the path carries `codepoint_to_send`, so that whatever was sent before a failure was
marked.  What is acknowledged after one no longer matters.
"""

import enum
from typing import Final

from p2pnode.machine import Ecn

TESTING_PTOS: Final = 3
"""RFC 9000 section 13.4.2: the time that unanswered marked packets get"""


class EcnState(enum.Enum):
    DISABLED = enum.auto()
    TESTING = enum.auto()
    CAPABLE = enum.auto()
    FAILED = enum.auto()


class EcnInput(enum.Enum):
    COUNTS_AGREE = enum.auto()
    COUNTS_LIE = enum.auto()
    NO_ANSWER = enum.auto()


TRANSITIONS: Final[dict[tuple[EcnState, EcnInput], EcnState]] = {
    (EcnState.TESTING, EcnInput.COUNTS_AGREE): EcnState.CAPABLE,
    (EcnState.TESTING, EcnInput.COUNTS_LIE): EcnState.FAILED,
    (EcnState.TESTING, EcnInput.NO_ANSWER): EcnState.FAILED,
    (EcnState.CAPABLE, EcnInput.COUNTS_LIE): EcnState.FAILED,
}
"""Whatever is not here changes nothing."""


class EcnValidator:
    """`codepoint_to_send` is an `Ecn` value for the IP header of every packet of the path."""

    __slots__ = ("_counts", "_marked", "codepoint_to_send", "state")

    def __init__(self, is_enabled: bool = True) -> None:
        self.state = EcnState.TESTING if is_enabled else EcnState.DISABLED
        self.codepoint_to_send = Ecn.ECT_0 if is_enabled else Ecn.NOT_ECT
        self._marked = 0
        self._counts = (0, 0, 0)

    def on_sent(self, count: int) -> None:
        """That many packets were sent with `codepoint_to_send`.  LossRecovery calls this."""
        self._marked += count

    def continue_counts_of(self, other: "EcnValidator") -> None:
        """Takes over another route's counts: the peer counts by packet number space, not route."""
        self._marked = other._marked
        self._counts = other._counts

    def on_ack(
        self,
        newly_acked_count_sent_with_ect: int,
        counts: tuple[int, int, int] | None,
        largest_acked_increased: bool,
    ) -> int:
        """Returns how many packets were newly reported as marked by the network (CE).

        `counts` are an ACK's cumulative (ECT(0), ECT(1), CE), None where it had none.
        """
        if self.codepoint_to_send == Ecn.NOT_ECT or not largest_acked_increased:
            return 0  # an ACK that was overtaken has old counts; it proves nothing
        if counts is None:
            if newly_acked_count_sent_with_ect:
                self._handle(EcnInput.COUNTS_LIE)
            return 0
        ect0, ect1, ce = counts
        old_ect0, _, old_ce = self._counts
        is_credible = (
            ect1 == 0
            and ect0 >= old_ect0
            and ce >= old_ce
            and ect0 + ce - old_ect0 - old_ce >= newly_acked_count_sent_with_ect
            and ect0 + ce <= self._marked
        )
        if not is_credible:
            self._handle(EcnInput.COUNTS_LIE)
            return 0
        self._counts = counts
        if newly_acked_count_sent_with_ect and self.state is EcnState.TESTING:
            self._handle(EcnInput.COUNTS_AGREE)
        return ce - old_ce

    def on_probe_timeout(self, pto_count: int) -> None:
        """The path has been silent for that many PTOs in a row."""
        if pto_count >= TESTING_PTOS:
            self._handle(EcnInput.NO_ANSWER)

    def _handle(self, what: EcnInput) -> None:
        self.state = TRANSITIONS.get((self.state, what), self.state)
        if self.state is EcnState.FAILED:
            self.codepoint_to_send = Ecn.NOT_ECT
