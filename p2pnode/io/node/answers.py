"""Questions to a peer that the swarm answers by an event: ping and identify.

Rule: one question is on its way on a connection at a time, and all who ask meanwhile get its
answer.  Whoever stops waiting changes nothing for the others.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from p2pnode.errors import NoAnswer
from p2pnode.machine import ConnectionHandle

AnswerT = TypeVar("AnswerT")


class _Question(Generic[AnswerT]):
    def __init__(self) -> None:
        self.is_over = trio.Event()
        self.answer: AnswerT | None = None
        self.failure = ""


class Answers(Generic[AnswerT]):
    """Questions of one kind, by connection."""

    def __init__(self, ask: Callable[[ConnectionHandle], None]) -> None:
        """`ask` sends the question; the outcome may come before it returns."""
        self._ask = ask
        self._questions: dict[ConnectionHandle, _Question[AnswerT]] = {}

    async def ask(self, connection: ConnectionHandle) -> AnswerT:
        """Returns the answer; when it is given up is the machine's to know.  Raises NoAnswer."""
        question = self._questions.get(connection)
        if question is None:
            question = self._questions[connection] = _Question()
            self._ask(connection)
        await question.is_over.wait()
        if question.answer is None:
            raise NoAnswer(question.failure)
        return question.answer

    def answer(self, connection: ConnectionHandle, answer: AnswerT) -> None:
        """The answer has come; does nothing where nobody asked."""
        question = self._questions.pop(connection, None)
        if question is not None:
            question.answer = answer
            question.is_over.set()

    def fail(self, connection: ConnectionHandle, reason: str) -> None:
        """No answer will come."""
        question = self._questions.pop(connection, None)
        if question is not None:
            question.failure = reason
            question.is_over.set()
