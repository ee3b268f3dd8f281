"""`p2pnode pipe`: standard input and output, from one peer to another."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2pnode.cli.command import begin
from p2pnode.cli.environment import CommandNode, NodeRequest, Traces
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.options import (
    BootstrapOption,
    DataOption,
    JsonOption,
    KeyLogOption,
    ListenOption,
    QlogOption,
    VerboseOption,
)
from p2pnode.cli.output import Output, StdoutClosed
from p2pnode.errors import P2PNodeError, PeerBusy, ProtocolNotSupported

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from p2pnode.cli.access import Access
    from p2pnode.cli.session import Session
    from p2pnode.identity.peer_id import PeerId
    from p2pnode.io.applications.peer_stream import NodeStream, PeerStream

STDIN = 0  # file descriptors; Python's own objects would buffer and decode
STDOUT = 1


def pipe(
    context: typer.Context,
    peer: Annotated[
        str | None,
        typer.Argument(
            metavar="PEER",
            help="The waiting peer: a full multiaddr or, with --bootstrap or a running node, a "
            "bare peer id.  Without it, this one waits.",
        ),
    ] = None,
    bootstrap: BootstrapOption = None,
    listen: ListenOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    qlog: QlogOption = None,
    key_log: KeyLogOption = None,
    verbose: VerboseOption = 0,
) -> int:
    """Join standard input and output to those of a peer.

    Without PEER: wait for one peer, print the addresses for it on stderr.  Each direction ends by
    itself, as with a pipe; the command ends with both, and fails where the other side could not
    write all that was sent to it.  Stdout belongs to the peer's bytes: what
    --json prints goes to stderr, errors too.
    """
    environment, output = begin(context, is_json=json, verbose=verbose)
    output.leave_stdout()
    if peer is not None and listen:
        raise typer.BadParameter("is for waiting: it does not go with PEER", param_hint="--listen")
    traces = Traces(qlog, key_log)
    from p2pnode.cli.access import open_access
    from p2pnode.cli.requests import errand, node_request
    from p2pnode.cli.session import run_session
    from p2pnode.cli.waiting import open_waiting_node

    if peer is not None:
        wanted = errand(peer, data, bootstrap, traces)

        async def connect(_: "Session") -> int:
            await _connect(open_access(environment, output, wanted), wanted.target, output)
            return ExitCode.DONE

        return run_session(connect)
    request = node_request(
        environment, data=data, listen=listen, bootstrap=bootstrap, traces=traces
    )

    async def wait(session: "Session") -> int:
        waiting = open_waiting_node(environment, output, request)
        await _wait(session, waiting, request, output)
        return ExitCode.DONE

    return run_session(wait, serves_others=True)


async def _connect(
    access: "AbstractAsyncContextManager[Access]", address: str, output: Output
) -> None:
    from p2pnode.io.applications.peer_stream import STREAM_ERRORS, stream_failure
    from p2pnode.io.applications.pipe import PROTOCOL_ID, VERDICT_PROTOCOL_ID, begin_verdict

    async with access as peers:
        try:
            verdict = (await peers.open_stream(address, VERDICT_PROTOCOL_ID)).stream
            try:
                gives_verdicts = await begin_verdict(verdict)
            except STREAM_ERRORS as exc:
                raise stream_failure(exc) from exc
            opened = await peers.open_stream(address, PROTOCOL_ID)
            await _join(opened.stream, opened.peer, output, verdict if gives_verdicts else None)
        except ProtocolNotSupported as exc:
            raise P2PNodeError(
                "the peer does not wait for a pipe; run `p2pnode pipe` there and connect to the "
                "address that it prints"
            ) from exc


async def _wait(
    session: "Session",
    waiting: "AbstractAsyncContextManager[CommandNode]",
    request: NodeRequest,
    output: Output,
) -> None:
    """Joins the first peer that comes."""
    import trio

    from p2pnode.io.applications.pipe import (
        MAX_VERDICTS,
        PROTOCOL_ID,
        READY,
        VERDICT_PROTOCOL_ID,
    )
    from p2pnode.wire.reset_code import StreamResetCode

    session.code_if_interrupted = lambda: 0
    come: list[NodeStream] = []
    has_come, has_ended = trio.Event(), trio.Event()

    async def take(stream: "NodeStream") -> None:
        if come:
            stream.reset(StreamResetCode.RESOURCE_LIMIT)
            return
        come.append(stream)
        has_come.set()
        # The stream is ours for as long as its handler runs.
        await has_ended.wait()

    verdicts: dict[PeerId, NodeStream] = {}
    """Of those who may open their pipe next."""

    async def take_verdict(stream: "NodeStream") -> None:
        if come or stream.peer_id in verdicts or len(verdicts) >= MAX_VERDICTS:
            stream.reset(StreamResetCode.RESOURCE_LIMIT)
            return
        verdicts[stream.peer_id] = stream
        await stream.send_all(READY)
        await has_ended.wait()

    async with waiting as node:
        node.handle(PROTOCOL_ID, take, 2)
        node.handle(VERDICT_PROTOCOL_ID, take_verdict, 2)
        _announce(output, node, request)
        await has_come.wait()
        node.unhandle(PROTOCOL_ID)
        node.unhandle(VERDICT_PROTOCOL_ID)
        session.code_if_interrupted = lambda: 1
        try:
            peer = come[0].peer_id
            await _join(come[0], str(peer), output, verdicts.get(peer))
        finally:
            has_ended.set()


def _announce(output: Output, node: CommandNode, request: NodeRequest) -> None:
    from p2pnode.cli.waiting import ways_to

    addresses = [str(address) for address in node.controlled.addresses]
    commands = [f"  p2pnode pipe {way}" for way in ways_to(node, request)]
    heading = "waiting for one peer; on the other machine run one of"
    output.emit({"event": "listening", "addresses": addresses}, heading, *commands)


async def _join(
    stream: "PeerStream", peer: str, output: Output, verdict: "PeerStream | None"
) -> None:
    """Raises P2PNodeError, and StdoutClosed."""
    from p2pnode.io.applications.peer_stream import STREAM_ERRORS, stream_failure
    from p2pnode.io.applications.pipe import DescriptorSink, DescriptorSource, join_pipe

    output.emit({"event": "connected", "peer": peer}, f"connected with {peer}")
    try:
        await join_pipe(stream, DescriptorSource(STDIN), DescriptorSink(STDOUT), verdict)
    except BrokenPipeError as exc:
        raise StdoutClosed from exc
    except OSError as exc:
        raise P2PNodeError(f"the pipe broke: {exc.strerror}") from exc
    except STREAM_ERRORS as exc:
        failure = stream_failure(exc)
        if isinstance(failure, ProtocolNotSupported | PeerBusy):
            raise failure from None
        raise P2PNodeError(f"the pipe broke: {failure}") from exc
