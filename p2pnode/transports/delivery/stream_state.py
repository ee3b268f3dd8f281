"""What states of streams and their inputs have in common."""

import enum


class StreamEnum(enum.Enum):
    """Looked up in the tables of transitions several times a stream.

    Members are singletons: they hash by identity, without a call of Python code.
    """

    __hash__ = object.__hash__
