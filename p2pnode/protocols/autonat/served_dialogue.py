"""What the serving sides have in common: a permit, and an order to the owner, until the end."""

from p2pnode.clock import Deadline, Instant
from p2pnode.protocols.autonat.budget import Budget, Permit
from p2pnode.protocols.autonat.dialable import Asker
from p2pnode.protocols.dialogue import FramedDialogue


class ServedDialogue(FramedDialogue):
    """However it ends, the permit is given back and the owner has nothing to do any more."""

    def __init__(self, max_message_size: int, deadline: Deadline) -> None:
        super().__init__(max_message_size, deadline)
        self._permit: Permit | None = None

    def _admit(self, budget: Budget, asker: Asker, now: Instant) -> None:
        """Takes a permit where there is one; a dialogue without one is refused when it asks."""
        admitted = budget.admit(asker, now)
        self._permit = None if isinstance(admitted, str) else admitted

    def _withdraw(self) -> None:
        """Takes back what the owner was to do."""
        raise NotImplementedError

    def _close(self) -> None:
        """Ends in good order: everything is answered."""
        self._release()
        self._finish()

    def _on_failure(self, reason: str) -> None:
        self._release()

    def _release(self) -> None:
        self._withdraw()
        if self._permit is not None:
            self._permit.release()
