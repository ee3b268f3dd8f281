"""go-libp2p's bytes in our hands, and ours in go-libp2p's.

The fixtures were written by the program in libp2p_fixtures/, whose head says how to do it again.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from p2pnode.errors import DecodeError
from p2pnode.identity.keys import decode_private_key
from p2pnode.identity.peer_id import PeerId, parse_peer_id
from p2pnode.identity.peer_record import (
    CURRENT,
    LEGACY,
    PeerRecord,
    decode_peer_record_untrusted,
    seal_peer_record,
)
from p2pnode.identity.public_key import KeyType, decode_public_key_untrusted
from p2pnode.protocols.identify import Identified, IdentifyMessage, IdentifyRequester
from p2pnode.protocols.identify.messages import (
    decode_identify_message_untrusted,
    encode_identify_frames,
)
from p2pnode.wire.framing import FrameReader
from p2pnode.wire.multiaddr import decode_multiaddr_untrusted, parse_multiaddr
from p2pnode.wire.multistream import Agreed, Initiator, ProposalRefused, Responder

HERE = Path(__file__).parent
PROGRAM = HERE / "libp2p_fixtures"
FIXTURES = json.loads((HERE / "fixtures" / "go_libp2p.json").read_text(encoding="utf-8"))
KEYS = {f"{entry['type']}-{index}": entry for index, entry in enumerate(FIXTURES["keys"])}
OWN_KEY = decode_private_key(bytes.fromhex(FIXTURES["keys"][0]["private"]))
OWN_ID = PeerId.from_public_key(OWN_KEY.public_key)
RECORDS = {entry["name"]: entry for entry in FIXTURES["records"]}


@pytest.mark.parametrize("entry", KEYS.values(), ids=KEYS.keys())
def test_keys_of_all_kinds_have_the_same_id_and_verify(entry: dict[str, str]) -> None:
    key = decode_public_key_untrusted(bytes.fromhex(entry["public"]))
    identity = PeerId.from_public_key(key)
    message, signature = entry["message"].encode(), bytes.fromhex(entry["signature"])

    assert key.key_type is KeyType[entry["type"].upper()]
    assert key.encode().hex() == entry["public"]
    assert (str(identity), identity.multihash.hex()) == (entry["peer_id"], entry["multihash"])
    assert parse_peer_id(entry["peer_id"]) == parse_peer_id(entry["cid"]) == identity
    assert identity.to_cid() == entry["cid"]
    assert key.verify(message, signature)
    assert not key.verify(message + b".", signature)


def test_our_key_is_theirs_and_signs_the_same() -> None:
    entry = FIXTURES["keys"][0]

    assert OWN_KEY.encode_private_key().hex() == entry["private"]
    assert OWN_KEY.sign(entry["message"].encode()).hex() == entry["signature"]


@pytest.mark.parametrize("entry", FIXTURES["multiaddrs"], ids=lambda entry: entry["text"])
def test_multiaddrs_have_the_same_bytes(entry: dict[str, str]) -> None:
    address = parse_multiaddr(entry["text"])

    assert address.to_bytes().hex() == entry["bytes"]
    assert str(decode_multiaddr_untrusted(bytes.fromhex(entry["bytes"]))) == entry["text"]


@pytest.mark.spec("IDENTITY-9")
@pytest.mark.spec("IDENTITY-11")
@pytest.mark.parametrize(("name", "kind"), [("current", CURRENT), ("legacy", LEGACY)])
def test_peer_records_are_read_and_written_to_the_same_bytes(name: str, kind: object) -> None:
    entry = RECORDS[name]
    addrs = tuple(map(parse_multiaddr, entry["addrs"]))
    theirs = bytes.fromhex(entry["envelope"])

    assert decode_peer_record_untrusted(theirs) == PeerRecord(OWN_ID, int(entry["seq"]), addrs)
    assert seal_peer_record(OWN_KEY, addrs, int(entry["seq"]), kind).encode() == theirs


@pytest.mark.spec("IDENTITY-10")
def test_a_record_of_another_peer_is_refused_though_the_signature_is_good() -> None:
    with pytest.raises(DecodeError, match="somebody else"):
        decode_peer_record_untrusted(bytes.fromhex(RECORDS["of another peer"]["envelope"]))


def identify_message_of(entry: dict) -> IdentifyMessage:
    return IdentifyMessage(
        public_key=decode_public_key_untrusted(bytes.fromhex(entry["public_key"])),
        listen_addrs=tuple(map(parse_multiaddr, entry["listen_addrs"])),
        protocols=tuple(entry["protocols"]),
        observed_addr=parse_multiaddr(entry["observed_addr"]),
        protocol_version=entry["protocol_version"],
        agent_version=entry["agent_version"],
        signed_peer_record=bytes.fromhex(entry["signed_peer_record"]),
    )


@pytest.mark.spec("IDENTIFY-1")
@pytest.mark.spec("IDENTIFY-2")
@pytest.mark.spec("IDENTIFY-3")
@pytest.mark.parametrize(("name", "messages"), [("identify_small", 1), ("identify_split", 2)])
def test_an_identify_answer_is_read_and_written_to_the_same_bytes(name: str, messages: int) -> None:
    entry = FIXTURES[name]
    data = bytes.fromhex(entry["frames"])
    reader, frames = FrameReader(8192), []
    reader.feed(data)
    while (frame := reader.next_frame_untrusted()) is not None:
        frames.append(frame)

    message = identify_message_of(entry)

    assert len(frames) == entry["messages"] == messages
    assert decode_identify_message_untrusted(frames) == message
    assert encode_identify_frames(message) == data


@pytest.mark.spec("IDENTIFY-8")
def test_the_identify_dialogue_trusts_their_signed_record() -> None:
    entry = FIXTURES["identify_split"]
    machine = IdentifyRequester(OWN_ID, 0.0)

    machine.handle_data(bytes.fromhex(entry["frames"]), 0.0)
    machine.handle_eof(0.0)

    assert isinstance(machine.outcome, Identified)
    info = machine.outcome.info
    assert info.signed_peer_record is not None
    assert info.signed_peer_record.encode().hex() == entry["signed_peer_record"]
    assert sorted(map(str, info.listen_addrs)) == sorted(entry["listen_addrs"])
    assert (info.agent_version, str(info.observed_addr)) == (
        entry["agent_version"],
        entry["observed_addr"],
    )


@pytest.mark.spec("MSS-1")
@pytest.mark.spec("MSS-4")
@pytest.mark.parametrize("entry", FIXTURES["multistream"], ids=lambda e: ",".join(e["proposed"]))
def test_both_sides_of_a_negotiation_say_what_go_says(entry: dict) -> None:
    ours = Initiator(entry["proposed"])
    theirs = Responder(frozenset(entry["supported"]).__contains__)
    said = {"initiator": bytearray(), "responder": bytearray()}
    while ours.outcome is None:
        data = ours.poll_data()
        said["initiator"] += data
        theirs.handle_data(data)
        data = theirs.poll_data()
        said["responder"] += data
        ours.handle_data(data)

    assert {side: bytes(data).hex() for side, data in said.items()} == {
        side: entry[side] for side in said
    }
    agreed = entry["agreed"]
    assert ours.outcome == (
        Agreed(agreed, b"") if agreed else ProposalRefused(tuple(entry["proposed"]))
    )


@pytest.mark.slow
def test_go_libp2p_reads_what_we_write_and_sign() -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    # No network: what the module needs is in Go's module cache, or the test does not run.
    environment = os.environ | {
        "GOPROXY": "off",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
    }
    built = subprocess.run(
        [go, "build", "-o", os.devnull, "."],
        cwd=PROGRAM,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        pytest.skip("go-libp2p is not in Go's module cache, or does not build with this Go")
    addrs = [parse_multiaddr(f"/ip4/1.2.3.4/udp/{port}/noise") for port in (1, 2)]
    record = seal_peer_record(OWN_KEY, addrs, 12345)
    message = IdentifyMessage(
        public_key=OWN_KEY.public_key,
        listen_addrs=tuple(addrs),
        protocols=tuple(f"/a/rather/long/protocol/name/{index}" for index in range(100)),
        observed_addr=parse_multiaddr("/ip6/2a00::1/udp/7/noise"),
        protocol_version="p2pnode/0.1.0",
        agent_version="p2pnode interop",
        signed_peer_record=record.encode(),
    )
    given = {
        "PrivateKey": OWN_KEY.encode_private_key().hex(),
        "PublicKey": OWN_KEY.public_key.encode().hex(),
        "Message": "signed by us",
        "Signature": OWN_KEY.sign(b"signed by us").hex(),
        "Envelope": record.encode().hex(),
        "Identify": encode_identify_frames(message).hex(),
    }

    run = subprocess.run(
        [go, "run", ".", "verify"],
        cwd=PROGRAM,
        env=environment,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    read = found.pop("identify")
    assert found == {
        "peer_id": str(OWN_ID),
        "keys_match": True,
        "signature_ok": True,
        "record_peer": str(OWN_ID),
        "record_signer": str(OWN_ID),
        "record_seq": "12345",
        "record_addrs": [str(addr) for addr in addrs],
    }
    assert read["messages"] == 2
    assert identify_message_of(read) == message
