"""What every command begins with."""

import logging
from typing import NamedTuple

import typer

from p2pnode.cli.environment import Environment
from p2pnode.cli.output import Output, set_up_logging

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class Invocation(NamedTuple):
    """What `main` hands to the command that it runs."""

    environment: Environment
    output: Output


def begin(context: typer.Context, *, is_json: bool, verbose: int) -> Invocation:
    """Returns the outside and the output, and starts the log."""
    invocation: Invocation = context.obj
    invocation.output.is_json = is_json
    set_up_logging(_LEVELS[min(verbose, len(_LEVELS) - 1)])
    return invocation
