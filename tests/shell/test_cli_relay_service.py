"""`p2pnode relay --print-unit` and `--print-containerfile`: what runs a relay for good."""

import configparser
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from p2pnode.cli.main import main
from p2pnode.cli.relay_service import STOP_TIMEOUT, containerfile, systemd_unit
from p2pnode.cli.serving import DRAIN_GRACE
from tests.shell.cli_support import run_json
from tests.shell.fake_node import ADDRESS, FakeEnvironment

PEER = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
FLAGS = [
    "--total-rate=5MB",
    "--max-circuits",
    "7",
    "--deny-peer",
    PEER,
    "--allow-network=10.0.0.0/8",
    "--allow-network=192.0.2.0/24",
    "--bootstrap",
    ADDRESS,
    "--listen=/ip4/0.0.0.0/udp/4001/noise",
    "--metrics=9464",
    "-vv",
]
WORDS = [
    "relay",
    "--total-rate",
    "5000000",
    "--max-circuits",
    "7",
    "--deny-peer",
    PEER,
    "--allow-network",
    "10.0.0.0/8",
    "--allow-network",
    "192.0.2.0/24",
    "--bootstrap",
    ADDRESS,
    "--listen",
    "/ip4/0.0.0.0/udp/4001/noise",
    "--metrics",
    "9464",
    "--verbose",
    "--verbose",
]


def as_pairs(words: list[str]) -> list[tuple[str, ...]]:
    """Returns flags with their values, in no order."""
    pairs: list[tuple[str, ...]] = []
    for word in words:
        if word.startswith("--") or not pairs:
            pairs.append((word,))
        else:
            pairs[-1] = (*pairs[-1], word)
    return sorted(pairs)


def parsed(unit: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(
        interpolation=None, comment_prefixes="#", delimiters="=", strict=True
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    return parser


def printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[str, FakeEnvironment]:
    environment = FakeEnvironment(tmp_path)
    assert main(["relay", *arguments], environment) == 0
    return capsys.readouterr().out, environment


def test_a_unit_runs_the_command_with_the_flags_that_were_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit, environment = printed(tmp_path, capsys, "--print-unit", *FLAGS)

    program, *words = shlex.split(parsed(unit)["Service"]["ExecStart"])
    assert Path(program).is_absolute()
    start = words.index("relay")
    assert as_pairs(words[start:]) == as_pairs(WORDS)
    assert environment.requests == [], "no node is opened"


def test_a_unit_runs_as_nobody_and_ends_as_a_relay_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = parsed(printed(tmp_path, capsys, "--print-unit")[0])["Service"]

    assert service["DynamicUser"] == "yes"
    assert service["StateDirectory"] == "p2pnode"
    assert service["Environment"] == "P2PNODE_DATA=%S/p2pnode"
    assert service["Restart"] == "on-failure"
    assert service["KillSignal"] == "SIGTERM"
    assert service["TimeoutStopSec"] == str(STOP_TIMEOUT)
    assert STOP_TIMEOUT > 2 * DRAIN_GRACE
    assert service["CapabilityBoundingSet"] == ""


def test_only_a_port_below_1024_gets_the_right_to_bind_it() -> None:
    service = parsed(systemd_unit(["/p"], ["/ip4/0.0.0.0/udp/443/noise"]))["Service"]
    assert service["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"

    service = parsed(systemd_unit(["/p"], ["/ip4/0.0.0.0/udp/1024/noise"]))["Service"]
    assert service["AmbientCapabilities"] == ""


def test_words_are_quoted_for_systemd() -> None:
    unit = systemd_unit(["/a b/p2pnode", "50%", "$HOME", 'say "x"', ""], [])

    command = parsed(unit)["Service"]["ExecStart"]
    assert command == r'"/a b/p2pnode" 50%% $$HOME "say \"x\"" ""'


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")
def test_systemd_finds_nothing_wrong_with_a_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit, _ = printed(tmp_path, capsys, "--print-unit", *FLAGS)
    path = tmp_path / "p2pnode-relay.service"
    path.write_text(unit)

    verdict = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert verdict.returncode == 0, verdict.stderr
    assert path.name not in verdict.stderr


def test_a_container_runs_the_command_with_the_flags_that_were_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, environment = printed(tmp_path, capsys, "--print-containerfile", *FLAGS)

    steps = [line.partition(" ") for line in text.splitlines() if line and line[0].isupper()]
    kinds = {kind: rest for kind, _, rest in steps}
    assert as_pairs(json.loads(kinds["CMD"])) == as_pairs(WORDS)
    assert json.loads(kinds["ENTRYPOINT"]) == ["p2pnode"]
    assert kinds["EXPOSE"] == "4001/udp"
    assert kinds["STOPSIGNAL"] == "SIGTERM"
    assert kinds["VOLUME"] == "/data"
    assert kinds["USER"] == "p2pnode"
    assert steps[0][0] == "FROM"
    assert environment.requests == []


def test_a_container_without_a_fixed_port_exposes_none() -> None:
    assert "EXPOSE" not in containerfile(["relay"], [])
    assert "EXPOSE" not in containerfile(["relay"], ["/ip4/0.0.0.0/udp/0/noise"])


def test_a_container_exposes_each_port_once_of_udp_and_of_tcp() -> None:
    ends = "udp/4001/noise", "tcp/4001"
    listen = [f"/{host}/{end}" for host in ("ip4/0.0.0.0", "ip6/::") for end in ends]
    exposed = [a for a in containerfile(["relay"], listen).splitlines() if a.startswith("EXPOSE")]
    assert exposed == ["EXPOSE 4001/udp", "EXPOSE 4001/tcp"]


@pytest.mark.parametrize("name", ["unit", "containerfile"])
def test_with_json_the_text_is_one_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, [told] = run_json(capsys, FakeEnvironment(tmp_path), "relay", f"--print-{name}")

    assert code == 0
    assert list(told) == [name]
    assert "--json" not in told[name]
    assert "relay" in told[name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--print-unit", "--print-containerfile"],
        ["--print-unit", "--data", "/tmp"],
        ["--print-containerfile", "--qlog", "/tmp"],
        ["--print-unit", "--key-log", "/tmp/keys"],
        ["--print-unit", "--listen", "nowhere"],
        ["--print-unit", "--listen", "/ip4/127.0.0.1/tcp/80/ws"],
        ["--print-unit", "--deny-peer", "nobody"],
    ],
)
def test_what_no_service_can_have_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["relay", *arguments], FakeEnvironment(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err


def test_what_the_environment_says_is_not_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_DATA", "/somewhere/else")

    unit, _ = printed(tmp_path, capsys, "--print-unit")

    assert "/somewhere/else" not in unit
