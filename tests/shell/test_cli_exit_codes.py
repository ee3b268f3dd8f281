"""What the exit code of a command says: one table for all of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from p2pnode.cli.environment import Traces
from p2pnode.cli.exit_codes import MEANINGS
from p2pnode.cli.main import main
from p2pnode.cli.requests import node_request
from tests.shell.cli_support import run_json
from tests.shell.fake_node import ADDRESS, FakeEnvironment

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["ping", "nonsense"], "PEER"),
        (["identify", "/ip4/192.0.2.7/udp"], "PEER"),
        (["why", ""], "PEER"),
        (["send", "x", "/ip4/192.0.2.999/udp/1/noise"], "PEER"),
        (["pipe", "nonsense"], "PEER"),
        (["ping", ADDRESS, "--bootstrap", "nonsense"], "--bootstrap"),
        (["netcheck", "--bootstrap", ADDRESS, "--bootstrap", "nonsense"], "--bootstrap"),
        (["run", "--bootstrap", ADDRESS.rpartition("/")[2]], "--bootstrap"),
        (["run", "--listen", "nonsense"], "--listen"),
        (["run", "--listen", "/ip4/127.0.0.1/tcp/1/ws"], "--listen"),
        (["run", "--listen", "/ip4/224.0.0.1/udp/1/noise"], "--listen"),
        (["run", "--listen", "/ip4/255.255.255.255/udp/1/noise"], "--listen"),
        (["run", "--listen", "/ip6/fe80::1/udp/1/noise"], "--listen"),
        (["run", "--listen", ADDRESS], "--listen"),
        (["relay", "--print-unit", "--listen", "/ip4/224.0.0.1/udp/1/noise"], "--listen"),
        (["run", "--bootstrap", "/ip4/0.0.0.0/udp/1/noise"], "--bootstrap"),
        (["ping", "/ip4/255.255.255.255/udp/1/noise"], "PEER"),
        (["ping", "/ip6/fe80::1/udp/1/noise"], "PEER"),
        (["run", "--metrics", "nonsense"], "--metrics"),
        (["relay", "--listen", "/ip4/127.0.0.1/udp/99999/noise"], "--listen"),
        (["relay", "--allow-peer", "nonsense"], "--allow-peer"),
        (["relay", "--allow-network", "nonsense"], "--allow-network"),
        (["receive", "--listen", ""], "--listen"),
        (["pipe", "--listen", "nonsense"], "--listen"),
        (["pipe", ADDRESS, "--listen", "/ip4/127.0.0.1/udp/0/noise"], "--listen"),
        (["join", "nonsense"], "ADDR"),
        (["join", ADDRESS, "--bootstrap", "nonsense"], "--bootstrap"),
    ],
    ids=" ".join,
)
def test_an_address_that_means_nothing_is_wrong_usage_and_nothing_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], option: str
) -> None:
    environment = FakeEnvironment(tmp_path)
    is_pipe = arguments[0] == "pipe"
    code = main([*arguments, "--json"], environment)
    out, err = capsys.readouterr()
    assert code == 2
    assert option in (err if is_pipe else out)
    assert (out if is_pipe else err) == ""
    assert environment.requests == []


def test_a_peer_that_does_not_answer_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreachable = "/ip4/192.0.2.99/udp/1/noise"
    code, [line] = run_json(capsys, FakeEnvironment(tmp_path), "identify", unreachable)
    assert (code, "nothing answers" in line["error"]) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"), [(["id"], 0), (["status"], 1), (["ping"], 2), (["--x"], 2)]
)
def test_the_module_exits_as_the_program_does(
    tmp_path: Path, arguments: list[str], expected: int
) -> None:
    command = [sys.executable, "-m", "p2pnode", *arguments]
    if arguments[0] in ("id", "status"):
        command += ["--data", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == expected


def test_the_help_and_the_readme_have_the_same_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--help"], FakeEnvironment(tmp_path))
    told = " ".join(capsys.readouterr().out.split())
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README.read_text(), re.MULTILINE))
    assert table == {str(int(code)): meaning for code, meaning in MEANINGS.items()}
    for code, meaning in MEANINGS.items():
        assert f"{int(code)} {meaning.replace(';', ',')}" in told


def test_blanks_around_an_address_that_was_copied_do_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = FakeEnvironment(tmp_path)
    listen = "/ip4/127.0.0.1/udp/0/noise"
    code, _ = run_json(
        capsys, environment, "identify", f" {ADDRESS}\n", "--bootstrap", f"{ADDRESS} "
    )
    assert code != 2
    assert environment.requests[0].bootstrap == (ADDRESS,)
    request = node_request(
        environment, data=None, listen=[f" {listen} "], bootstrap=None, traces=Traces()
    )
    assert request.listen == (listen,)
