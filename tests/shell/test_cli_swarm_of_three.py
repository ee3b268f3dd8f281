"""A relay, a peer that reserves there, and a third one that looks for it by its id: processes."""

import os
import signal
from pathlib import Path

import pytest

from tests.shell.test_cli_end_to_end import LISTEN, Command, run_to_end, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals"),
]


def test_peers_find_each_other_by_id_through_a_relay(tmp_path: Path) -> None:
    with Command("relay", *LISTEN, "--json", data=tmp_path / "r") as relay:
        relay_id = relay.event("started")["peer_id"]
        bootstrap = "--bootstrap", relay.event("relaying")["address"]
        with running(tmp_path / "a", *bootstrap) as (peer, address):
            peer_id = address.rpartition("/")[2]
            reservation = peer.event("reservation")
            assert reservation["relay"] == relay_id
            assert all("/p2p-circuit/p2p/" in a for a in reservation["addresses"])

            code, pongs = run_to_end(
                "ping", peer_id, *bootstrap, "-c", "2", "-i", "0.1", data=tmp_path / "b"
            )
            assert code == 0
            assert {pong["peer"] for pong in pongs} == {peer_id}
            assert {pong["path"] for pong in pongs} <= {"direct", "relayed"}

            code, [why] = run_to_end("why", peer_id, *bootstrap, data=tmp_path / "b")
            assert code == 0
            assert set(why) == {
                *("peer", "path", "transport", "limited", "verdict", "cause", "attempts")
            }
            assert why["peer"] == peer_id
            assert why["path"] in ("direct", "relayed")

            code, [status] = run_to_end("status", data=tmp_path / "a")
            assert code == 0
            assert status["peer_id"] == peer_id
            assert [r["peer"] for r in status["relays"]] == [relay_id]
            assert relay_id in [c["peer"] for c in status["connections"]]
            code, [serving] = run_to_end("status", data=tmp_path / "r")
            assert (code, serving["peer_id"]) == (0, relay_id)

            # The command goes through the node that runs, which finds the peer by its own peers.
            code, [pong] = run_to_end("ping", relay_id, "-c", "1", data=tmp_path / "a")
            assert (code, pong["path"]) == (0, "direct")

            assert relay.signal(signal.SIGTERM) == 0
            lost = peer.event("reservation")
            assert (lost["relay"], lost["addresses"]) == (relay_id, [])
            assert peer.signal(signal.SIGINT) == 0


def test_who_joins_hears_who_answered_and_how_many_others_there_are(tmp_path: Path) -> None:
    with (
        Command("relay", *LISTEN, "--json", data=tmp_path / "r") as relay,
        running(tmp_path / "a", "--bootstrap", relay.event("relaying")["address"]) as (peer, _),
    ):
        address = peer.event("identified")["listen_addrs"][0]
        relay_id = peer.event("reservation")["relay"]
        with Command("join", address, *LISTEN, "--json", data=tmp_path / "c") as joining:
            assert joining.event("joined")["peer"] == relay_id
            assert joining.event("peers")["found"] == 1
            assert joining.signal(signal.SIGTERM) == 0


def test_a_peer_that_nobody_knows_is_one_sentence(tmp_path: Path) -> None:
    _, [stranger] = run_to_end("id", data=tmp_path / "stranger")
    with Command("relay", *LISTEN, "--json", data=tmp_path / "r") as relay:
        bootstrap = "--bootstrap", relay.event("relaying")["address"]
        code, [error] = run_to_end("ping", stranger["peer_id"], *bootstrap, data=tmp_path / "b")
        assert code == 1
        assert error["error"].startswith(f"cannot reach {stranger['peer_id']}: no peer told where")
        assert relay.signal(signal.SIGTERM) == 0


def test_the_metrics_of_a_relay_are_served(tmp_path: Path) -> None:
    from urllib.request import urlopen

    arguments = ("relay", *LISTEN, "--metrics", "127.0.0.1:0", "--json")
    with Command(*arguments, data=tmp_path) as relay:
        url = relay.event("metrics")["url"]
        with urlopen(url) as answer:
            assert b"libp2p_relaysvc_status 1.0" in answer.read()
        assert relay.signal(signal.SIGINT) == 0
