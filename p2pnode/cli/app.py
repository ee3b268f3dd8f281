"""The commands as one program, and what its failures look like.

Rule: whatever happens, a person reads one sentence on stderr, a script one JSON object on stdout,
and the exit code tells which of the outcomes in `exit_codes` it was.
"""

from typing import Annotated, cast

import typer

from p2pnode.cli import id as id_command
from p2pnode.cli import (
    identify,
    join,
    netcheck,
    ping,
    pipe,
    receive,
    relay,
    run,
    send,
    status,
    swarm,
    why,
)
from p2pnode.cli.command import Invocation
from p2pnode.cli.environment import Environment
from p2pnode.cli.exit_codes import ExitCode, exit_code_help
from p2pnode.cli.interrupts import Interrupted
from p2pnode.cli.output import Output
from p2pnode.errors import P2PNodeError, PeerBusy

# Typer brings a copy of click with it, or depends on click, by version; this is its UsageError.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="p2pnode",
    epilog=exit_code_help(),
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(context: typer.Context, is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import PackageNotFoundError, version

        invocation: Invocation = context.obj
        try:
            invocation.output.text(f"p2pnode {version('p2pnode')}")
        except PackageNotFoundError as exc:
            raise P2PNodeError("p2pnode is not installed here, and has no version") from exc
        raise typer.Exit


@app.callback()
def program(
    _: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """A peer that helps other peers, and is helped by them."""


app.command("run")(run.run)
app.command("join")(join.join)
app.command("relay")(relay.relay)
app.command("status")(status.status)
app.command("why")(why.why)
app.command("netcheck")(netcheck.netcheck)
app.command("swarm")(swarm.swarm)
app.command("id")(id_command.show_id)
app.command("ping")(ping.ping)
app.command("identify")(identify.identify)
app.command("send")(send.send)
app.command("receive")(receive.receive)
app.command("pipe")(pipe.pipe)


def run_command(arguments: list[str], environment: Environment | None) -> int:
    """Runs a command; returns the exit code.  Raises StdoutClosed."""
    if environment is None:
        from p2pnode.cli.node_environment import NodeEnvironment

        environment = NodeEnvironment()
    output = Output(is_json="--json" in arguments)
    invocation = Invocation(environment, output)
    try:
        code: object = typer.main.get_command(app).main(
            args=arguments, prog_name="p2pnode", standalone_mode=False, obj=invocation
        )
    except _USAGE_ERROR as exc:
        usage_error = cast("typer.BadParameter", exc)
        if output.is_json:
            output.error(usage_error.format_message())
        else:
            usage_error.show()
        return ExitCode.USAGE
    except PeerBusy as exc:
        output.error(str(exc))
        return ExitCode.BUSY
    except (P2PNodeError, Interrupted) as exc:
        output.error(str(exc))
    except OSError as exc:
        output.error(
            f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror or str(exc)
        )
    except typer.Abort:
        pass
    else:
        # Typer has its own code for KeyboardInterrupt.
        return code if isinstance(code, int) and code in tuple(ExitCode) else ExitCode.FAILED
    return ExitCode.FAILED
