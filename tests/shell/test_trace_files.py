"""Key log and qlog of a real node: p2pnode/io/trace_files.py."""

import json
import stat
from pathlib import Path

import pytest
import trio

from p2pnode import open_node
from p2pnode.transports.noise_udp.aead import Aead, packet_key

PROTOCOL = "/echo/1.0.0"


async def talk(tmp_path: Path, *, key_log: Path | None, qlog_dir: Path | None) -> None:
    async def echo(stream) -> None:
        async for data in stream:
            await stream.send_all(data)

    listen = ["/ip4/127.0.0.1/udp/0/noise"]
    async with (
        open_node(listen=listen, key_log=key_log, qlog_dir=qlog_dir) as server,
        open_node(listen=[], key_log=key_log, qlog_dir=qlog_dir) as client,
    ):
        server.handle(PROTOCOL, echo)
        async with await client.open_stream(server.addresses[0], PROTOCOL) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"


async def test_both_ends_log_the_same_secrets_for_the_user_alone(tmp_path: Path) -> None:
    log = tmp_path / "keys.txt"
    await talk(tmp_path, key_log=log, qlog_dir=None)
    lines = log.read_text().splitlines()
    assert len(lines) == 4
    assert len(set(lines)) == 2
    for line in lines:
        label, _, secret = line.split()
        assert label.startswith("NOISE_UDP_")
        assert packet_key(bytes.fromhex(secret), Aead.AES_256_GCM).iv
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_qlog_is_a_sequence_of_json_texts_without_contents(tmp_path: Path) -> None:
    trio.run(lambda: talk(tmp_path, key_log=None, qlog_dir=tmp_path))
    traces = sorted(tmp_path.glob("*.sqlog"))
    assert [trace.stem.rsplit("_", 1)[1] for trace in traces] == ["client", "server"]
    for trace in traces:
        texts = trace.read_text().split("\x1e")[1:]
        header, *events = [json.loads(text) for text in texts]
        assert header["qlog_format"] == "JSON-SEQ"
        names = {event["name"] for event in events}
        assert {"transport:packet_sent", "transport:packet_received"} <= names
        frames = [f for e in events for f in e["data"].get("frames", ())]
        assert {"stream", "connection_close"} <= {frame["frame_type"] for frame in frames}
        assert "hello" not in trace.read_text()
        assert [e["time"] for e in events] == sorted(e["time"] for e in events)


async def test_a_log_that_cannot_be_written_is_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await talk(tmp_path, key_log=tmp_path / "no" / "keys", qlog_dir=tmp_path / "no")
    assert "cannot be written" in caplog.text
