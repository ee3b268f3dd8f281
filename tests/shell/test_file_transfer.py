"""Both ends of a file transfer against each other, and against peers that misbehave."""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from p2pnode.errors import (
    ConnectionLost,
    P2PNodeError,
    PeerBusy,
    ProtocolNotSupported,
    StreamReset,
)
from p2pnode.io.applications.file_receiver import FileReceiver, IncomingTransfer
from p2pnode.io.applications.file_sender import send_file
from p2pnode.io.applications.file_transfer import (
    BLOCK_SIZE,
    PROMISE_TIMEOUT,
    TransferError,
    Transferred,
)
from p2pnode.io.applications.incoming_file import IncomingFile
from p2pnode.io.applications.outgoing_file import OutgoingFile
from p2pnode.protocols.file_transfer.messages import (
    Digest,
    Offer,
    Reply,
    TransferStatus,
    decode_reply_untrusted,
    encode_digest,
    encode_offer,
    encode_reply,
)
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.reset_code import StreamResetCode
from tests.shell.fake_streams import FakeStream, fake_peer_id, fake_stream_pair


@dataclass
class Observer:
    started: list[IncomingTransfer] = field(default_factory=list)
    progress: list[int] = field(default_factory=list)
    received: list[tuple[Path, Transferred]] = field(default_factory=list)
    failures: list[TransferError] = field(default_factory=list)

    def handle_started(self, transfer: IncomingTransfer) -> None:
        self.started.append(transfer)

    def handle_progress(self, transfer: IncomingTransfer, received: int) -> None:
        self.progress.append(received)

    def handle_received(
        self, transfer: IncomingTransfer, path: Path, transferred: Transferred
    ) -> None:
        self.received.append((path, transferred))

    def handle_failed(self, transfer: IncomingTransfer | None, failure: TransferError) -> None:
        self.failures.append(failure)


@dataclass
class Bench:
    """A receiver on a folder, and a stream to it."""

    folder: Path
    observer: Observer
    receiver: FileReceiver
    ours: FakeStream
    theirs: FakeStream


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "incoming"
    folder.mkdir()
    observer = Observer()
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    return Bench(folder, observer, FileReceiver(folder, observer), ours, theirs)


def make_file(path: Path, content: bytes) -> OutgoingFile:
    path.write_bytes(content)
    return OutgoingFile(path)


def ignore(_: int) -> None:
    pass


async def send_to(bench: Bench, file: OutgoingFile) -> Transferred:
    """Sends the file to the bench's receiver, both ends at once."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        with file:
            transferred = await send_file(bench.ours, file, ignore)
    return transferred


async def send_and_fail(bench: Bench, file: OutgoingFile) -> P2PNodeError:
    """Returns how the sender fails."""
    failure: P2PNodeError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        try:
            with file:
                await send_file(bench.ours, file, ignore)
        except (TransferError, PeerBusy) as exc:
            failure = exc
    assert failure is not None
    return failure


async def converse(stream: FakeStream, *messages: bytes) -> list[Reply]:
    """Says these as a sender would, and finishes; returns the receiver's replies."""
    replies, frames = [], FrameReader(4096)
    for message in messages:
        await stream.send_all(message)
    await stream.send_eof()
    while data := await stream.receive_some():
        frames.feed(data)
        while (frame := frames.next_frame_untrusted()) is not None:
            replies.append(decode_reply_untrusted(frame))
    return replies


async def converse_with(bench: Bench, *messages: bytes) -> list[Reply]:
    replies: list[Reply] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        replies = await converse(bench.ours, *messages)
    return replies


@pytest.mark.spec("FILE-3")
@pytest.mark.spec("FILE-4")
@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, 3 * BLOCK_SIZE + 17])
async def test_a_file_arrives_byte_for_byte(bench: Bench, tmp_path: Path, size: int) -> None:
    content = (hashlib.sha256(b"content").digest() * (size // 32 + 1))[:size]
    transferred = await send_to(bench, make_file(tmp_path / "a file.bin", content))

    [(path, received)] = bench.observer.received
    assert path == bench.folder / "a file.bin"
    assert path.read_bytes() == content
    assert transferred.sha256 == received.sha256 == hashlib.sha256(content).hexdigest()
    assert transferred.size == received.size == size
    assert os.listdir(bench.folder) == ["a file.bin"]
    assert bench.observer.failures == []


async def test_a_file_never_overwrites_another(bench: Bench, tmp_path: Path) -> None:
    (bench.folder / "x.txt").write_bytes(b"old")
    (bench.folder / "x (1).txt").write_bytes(b"old too")
    await send_to(bench, make_file(tmp_path / "x.txt", b"new"))

    assert (bench.folder / "x.txt").read_bytes() == b"old"
    assert (bench.folder / "x (1).txt").read_bytes() == b"old too"
    assert (bench.folder / "x (2).txt").read_bytes() == b"new"


async def test_the_file_has_the_mode_of_any_new_file(bench: Bench, tmp_path: Path) -> None:
    await send_to(bench, make_file(tmp_path / "x", b"new"))
    (bench.folder / "usual").write_bytes(b"")
    assert (bench.folder / "x").stat().st_mode == (bench.folder / "usual").stat().st_mode


async def test_progress_is_reported_on_both_sides(bench: Bench, tmp_path: Path) -> None:
    sent: list[int] = []
    size = 2 * BLOCK_SIZE + 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        with make_file(tmp_path / "x", bytes(size)) as file:
            await send_file(bench.ours, file, sent.append)
    assert sent == [BLOCK_SIZE, 2 * BLOCK_SIZE, size]
    assert bench.observer.progress == sent


@pytest.mark.spec("FILE-5")
async def test_a_name_cannot_leave_the_folder(bench: Bench) -> None:
    offer = Offer("../../.ssh/authorized_keys", 3)
    replies = await converse_with(
        bench,
        encode_frame(encode_offer(offer)),
        b"abc",
        encode_frame(encode_digest(Digest(hashlib.sha256(b"abc").digest()))),
    )
    assert [reply.status for reply in replies] == [TransferStatus.OK, TransferStatus.OK]
    assert os.listdir(bench.folder) == ["authorized_keys"]


@pytest.mark.spec("FILE-8")
async def test_a_wrong_digest_leaves_nothing(bench: Bench) -> None:
    replies = await converse_with(
        bench,
        encode_frame(encode_offer(Offer("x", 3))),
        b"abc",
        encode_frame(encode_digest(Digest(bytes(32)))),
    )
    assert [reply.status for reply in replies] == [
        TransferStatus.OK,
        TransferStatus.DIGEST_MISMATCH,
    ]
    assert os.listdir(bench.folder) == []
    assert len(bench.observer.failures) == 1


@pytest.mark.spec("FILE-7")
async def test_a_file_that_ends_early_leaves_nothing(bench: Bench) -> None:
    replies = await converse_with(bench, encode_frame(encode_offer(Offer("x", 300))), b"abc")
    assert [reply.status for reply in replies] == [TransferStatus.OK, TransferStatus.BAD_MESSAGE]
    assert os.listdir(bench.folder) == []


@pytest.mark.parametrize(
    "message",
    [b"\xff" * 20, b"", encode_frame(b"\x00junk"), encode_frame(encode_offer(Offer("", 3)))],
)
async def test_what_is_no_offer_gets_a_reply_and_leaves_nothing(
    bench: Bench, message: bytes
) -> None:
    replies = await converse_with(bench, message)
    assert [reply.status for reply in replies] == [TransferStatus.BAD_MESSAGE]
    assert os.listdir(bench.folder) == []
    assert bench.observer.started == []


async def test_a_lost_connection_leaves_nothing(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        await bench.ours.send_all(encode_frame(encode_offer(Offer("x", 300))) + b"abc")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.receiver.is_receiving
        bench.theirs.fail(ConnectionLost("the network is down"))
    assert not bench.receiver.is_receiving
    assert os.listdir(bench.folder) == []
    [failure] = bench.observer.failures
    assert "the network is down" in str(failure)


async def test_cancellation_in_the_middle_leaves_nothing_and_resets(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        await bench.ours.send_all(encode_frame(encode_offer(Offer("x", 300))) + b"abc")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.receiver.is_receiving
        nursery.cancel_scope.cancel()
    assert os.listdir(bench.folder) == []
    assert bench.theirs.reset_code is not None


@pytest.mark.spec("FILE-6")
async def test_a_file_that_does_not_fit_is_refused_with_the_reason(
    bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    failure = await send_and_fail(bench, OutgoingFile(path))
    assert "not enough space" in str(failure)
    assert os.listdir(bench.folder) == []
    [ours] = bench.observer.failures
    assert f"not enough space on the disk for its {1 << 42} bytes" in str(ours)


class Sender:
    """Plays one who offers a file to the receiver, and sends it when told to."""

    def __init__(self, nursery: trio.Nursery, receiver: FileReceiver, content: bytes) -> None:
        self._content = content
        self._frames = FrameReader(4096)
        self._ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
        nursery.start_soon(receiver.handle, theirs)

    async def offer(self) -> TransferStatus | int:
        name = f"{len(self._content)} bytes"
        await self._ours.send_all(encode_frame(encode_offer(Offer(name, len(self._content)))))
        return await self._reply()

    async def send(self, size: int) -> None:
        """Sends so many bytes of it, and lets the receiver take them."""
        await self._ours.send_all(self._content[:size])

    async def finish(self, sent: int = 0) -> TransferStatus | int:
        """Sends the rest; returns the verdict."""
        digest = Digest(hashlib.sha256(self._content).digest())
        await self._ours.send_all(self._content[sent:] + encode_frame(encode_digest(digest)))
        verdict = await self._reply()
        await self._ours.send_eof()
        return verdict

    async def _reply(self) -> TransferStatus | int:
        while (frame := self._frames.next_frame_untrusted()) is None:
            self._frames.feed(await self._ours.receive_some())
        return decode_reply_untrusted(frame).status


@pytest.mark.spec("FILE-6")
@pytest.mark.spec("FILE-12")
async def test_offers_that_do_not_fit_are_refused_and_the_others_go_on(tmp_path: Path) -> None:
    observer = Observer()
    receiver = FileReceiver(tmp_path, observer, free_space=lambda _: 1000)
    async with trio.open_nursery() as nursery:
        first = Sender(nursery, receiver, bytes(700))
        assert await first.offer() == TransferStatus.OK
        assert await Sender(nursery, receiver, bytes(400)).offer() == TransferStatus.NO_SPACE
        assert await Sender(nursery, receiver, bytes(1001)).offer() == TransferStatus.NO_SPACE
        second = Sender(nursery, receiver, bytes(300))
        assert await second.offer() == TransferStatus.OK
        assert await second.finish() == TransferStatus.OK
        assert await first.finish() == TransferStatus.OK
        # What was kept for them is given back with their ends.
        third = Sender(nursery, receiver, bytes(1000))
        assert await third.offer() == TransferStatus.OK
        assert await third.finish() == TransferStatus.OK
        nursery.cancel_scope.cancel()
    assert sorted(path.name for path, _ in observer.received) == [
        "1000 bytes",
        "300 bytes",
        "700 bytes",
    ]


@pytest.mark.spec("FILE-13")
async def test_space_is_not_kept_for_one_who_only_promises(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    observer = Observer()
    receiver = FileReceiver(tmp_path, observer, free_space=lambda _: 3 * BLOCK_SIZE)
    async with trio.open_nursery() as nursery:
        slow = Sender(nursery, receiver, bytes(2 * BLOCK_SIZE))
        assert await slow.offer() == TransferStatus.OK
        other = bytes(2 * BLOCK_SIZE)

        mock_clock.jump(PROMISE_TIMEOUT - 1)
        assert await Sender(nursery, receiver, other).offer() == TransferStatus.NO_SPACE
        await slow.send(BLOCK_SIZE)
        while not observer.progress:
            await trio.lowlevel.checkpoint()
        mock_clock.jump(PROMISE_TIMEOUT - 1)
        larger = bytes(2 * BLOCK_SIZE + 1)
        assert await Sender(nursery, receiver, larger).offer() == TransferStatus.NO_SPACE
        mock_clock.jump(1)
        keen = Sender(nursery, receiver, larger)
        assert await keen.offer() == TransferStatus.OK
        assert await keen.finish() == TransferStatus.OK
        # Its transfer goes on all the same.
        assert await slow.finish(BLOCK_SIZE) == TransferStatus.OK
        nursery.cancel_scope.cancel()


async def test_a_disk_that_fills_up_ends_the_transfer_with_the_reason(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: IncomingFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(IncomingFile, "write", write)
    failure = await send_and_fail(bench, make_file(tmp_path / "x", bytes(8 * BLOCK_SIZE)))
    assert "not enough space" in str(failure)
    assert str(bench.folder) not in str(failure)
    assert os.listdir(bench.folder) == []
    assert len(bench.observer.failures) == 1


async def test_more_transfers_than_allowed_are_refused_as_busy(tmp_path: Path) -> None:
    observer = Observer()
    receiver = FileReceiver(tmp_path, observer, max_transfers=1)
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.handle, theirs)
        await ours.send_all(encode_frame(encode_offer(Offer("first", 300))))
        await trio.testing.wait_all_tasks_blocked()

        bench = Bench(tmp_path, observer, receiver, *fake_stream_pair(theirs.peer_id, ours.peer_id))
        failure = await send_and_fail(bench, make_file(tmp_path / "second", b"abc"))
        assert isinstance(failure, PeerBusy)
        nursery.cancel_scope.cancel()


async def test_a_silent_peer_is_given_up(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    await bench.receiver.handle(bench.theirs)
    [failure] = bench.observer.failures
    assert "no offer" in str(failure)


async def test_a_sender_that_stalls_is_given_up(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        await bench.ours.send_all(encode_frame(encode_offer(Offer("x", 300))) + b"abc")
    [failure] = bench.observer.failures
    assert "too long" in str(failure)
    assert os.listdir(bench.folder) == []


@pytest.mark.spec("FILE-1")
@pytest.mark.spec("FILE-2")
async def test_the_sender_sends_nothing_of_the_file_before_consent(tmp_path: Path) -> None:
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            offer = await theirs.receive_some()
            assert offer == encode_frame(encode_offer(Offer("x", 3)))
            await theirs.send_all(
                encode_frame(encode_reply(Reply(TransferStatus.REFUSED, "no thanks")))
            )
            with pytest.raises(trio.BrokenResourceError):
                await theirs.receive_some()

        nursery.start_soon(refuse)
        with (
            make_file(tmp_path / "x", b"abc") as file,
            pytest.raises(TransferError, match="no thanks"),
        ):
            await send_file(ours, file, ignore)


@pytest.mark.parametrize(
    "failure",
    [
        ProtocolNotSupported(("/p2pnode/file/1.0.0",)),
        StreamReset(StreamResetCode.NEGOTIATION_FAILED),
    ],
)
async def test_the_sender_says_that_the_peer_takes_no_files(
    tmp_path: Path, failure: Exception
) -> None:
    ours, _ = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    ours.fail(failure)
    with make_file(tmp_path / "x", b"abc") as file, pytest.raises(ProtocolNotSupported):
        await send_file(ours, file, ignore)


@pytest.mark.spec("FILE-9")
async def test_a_verdict_before_the_end_stops_the_sender(tmp_path: Path) -> None:
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))

    async def refuse_later() -> None:
        await theirs.receive_some()
        await theirs.send_all(encode_frame(encode_reply(Reply(TransferStatus.OK))))
        await theirs.receive_some(10)
        await theirs.send_all(
            encode_frame(encode_reply(Reply(TransferStatus.NO_SPACE, "disk full")))
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse_later)
        with (
            make_file(tmp_path / "x", bytes(40 * BLOCK_SIZE)) as file,
            pytest.raises(TransferError, match="disk full"),
        ):
            await send_file(ours, file, ignore)


@pytest.mark.spec("FILE-10")
async def test_a_receiver_that_accepts_too_early_is_not_believed(tmp_path: Path) -> None:
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    ok = encode_frame(encode_reply(Reply(TransferStatus.OK)))
    await theirs.send_all(ok + ok)
    with (
        make_file(tmp_path / "x", bytes(40 * BLOCK_SIZE)) as file,
        pytest.raises(TransferError, match="broke the protocol"),
    ):
        await send_file(ours, file, ignore)
    assert ours.reset_code is not None


async def test_a_receiver_that_says_nothing_at_the_end_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = fake_stream_pair(fake_peer_id(1), fake_peer_id(2))
    await theirs.send_all(encode_frame(encode_reply(Reply(TransferStatus.OK))))
    with make_file(tmp_path / "x", b"abc") as file, pytest.raises(TransferError, match="too long"):
        await send_file(ours, file, ignore)


async def test_a_file_that_shrinks_while_it_is_sent_is_not_sent(
    bench: Bench, tmp_path: Path
) -> None:
    file = make_file(tmp_path / "x", bytes(100))
    os.truncate(tmp_path / "x", 50)
    failure = await send_and_fail(bench, file)
    assert "became shorter" in str(failure)
    assert os.listdir(bench.folder) == []


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"one more line")


def edit(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.spec("FILE-14")
@pytest.mark.parametrize("change", [grow, edit])
async def test_a_file_that_changes_while_it_is_sent_is_not_sent(
    bench: Bench, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    file = make_file(tmp_path / "x", bytes(3 * BLOCK_SIZE))

    def change_at_once(sent: int) -> None:
        if sent == 2 * BLOCK_SIZE:
            change(tmp_path / "x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.receiver.handle, bench.theirs)
        with file, pytest.raises(TransferError, match="changed while it was sent"):
            await send_file(bench.ours, file, change_at_once)
    assert os.listdir(bench.folder) == []


@pytest.mark.parametrize(
    "touch", [Path.touch, lambda path: path.chmod(0o600), lambda path: path.unlink()]
)
async def test_a_file_of_which_only_the_circumstances_change_is_sent(
    bench: Bench, tmp_path: Path, touch: Callable[[Path], None]
) -> None:
    file = make_file(tmp_path / "x", bytes(BLOCK_SIZE))
    touch(tmp_path / "x")
    await send_to(bench, file)
    assert (bench.folder / "x").read_bytes() == bytes(BLOCK_SIZE)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs /proc")
def test_a_file_that_does_not_tell_its_size_is_refused() -> None:
    with pytest.raises(TransferError, match="/proc/version does not tell its size"):
        OutgoingFile(Path("/proc/version"))


SHORT_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not SHORT_FILE.exists(), reason="needs Linux' /sys")
async def test_a_file_with_less_than_its_size_says_is_not_sent(bench: Bench) -> None:
    failure = await send_and_fail(bench, OutgoingFile(SHORT_FILE))
    assert "its size is not true" in str(failure)
    assert os.listdir(bench.folder) == []


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
def test_only_regular_files_can_be_sent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(TransferError, match=str(path)):
        OutgoingFile(path)
