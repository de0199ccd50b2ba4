"""What databases and Docker say is data: it breaks no line, and is no command, file name or escape code."""

import argparse
import ast
import json
import logging
import re
import shlex
from pathlib import Path
from uuid import uuid4

import pytest

import ovn_docker
from ovn_docker import address_pools, addressing, logs
from ovn_docker.cli import check, gc
from ovn_docker.docker.models import Container
from ovn_docker.errors import ConfigError, ConflictError, RequestError, UnstorableError
from ovn_docker.health.checks import names_of
from ovn_docker.health.findings import Finding
from ovn_docker.health.host_cleanup import Leftovers
from ovn_docker.health.reconciler import Report
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.network_spec import SharedNetwork
from ovn_docker.overlay.networks import _agree
from ovn_docker.ovn import hosts, switches
from ovn_docker.ovn.hosts import LastSeen
from ovn_docker.ovsdb.jsonrpc import encode_request
from ovn_docker.ovsdb.operations import mapping, to_map
from tests.flags import settings_of

HOSTILE = [
    "two\nlines",
    "carriage\rreturn",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31mred",
    "nul\x00byte",
    "line\u2028separator",
    "turned\u202earound\u2066",
    "right-to-left \u202e",
    "half \ud800 a pair",
    "$(touch /tmp/x) `id` ; rm -rf /",
    "'; drop",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "%s %(x)s {0}",
    "=cmd|' /C calc'!A0",
    "x" * 100_000,
]
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

hostile = pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))


@hostile
def test_it_breaks_no_line_of_the_log(text: str) -> None:
    arguments = (text, logs.fields(host=text, reason=text))
    record = logging.LogRecord("ovn_docker.x", logging.INFO, "", 0, "of %s: %s", arguments, None)
    line = logs.LineFormatter().format(record)
    assert not CONTROL.search(line)


@hostile
def test_it_forges_no_key_of_the_log(text: str) -> None:
    line = logs.fields(reason=f'{text}" outcome=ok', outcome="refused")
    assert shlex.split(line) == [f'reason={text}" outcome=ok', "outcome=refused"]


@hostile
def test_it_gives_docker_s_user_one_line_that_no_terminal_acts_on(text: str) -> None:
    answer = json.loads(messages.encode_error(f"logical switch {text} is wrong"))
    assert not CONTROL.search(answer["Err"])


@hostile
def test_a_command_prints_it_as_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report((Finding("interface-dead", "x", f"host {text} is wrong"),))
    vtep = {"remote_ip": text, "Logical_Switch": text, "vni": 1, "mode": "ramp"}
    check._print(
        check.CheckResult(report, [vtep]), argparse.Namespace(json=False, underlay=False), done=False
    )
    printed = capsys.readouterr().out
    assert not CONTROL.search(printed.replace("\n", "", 3))
    listed = [gc.Listed(text, chassis=True, driver=True, remains=Leftovers(), seen=LastSeen())]
    assert not CONTROL.search(gc._as_table(listed).replace("\n", "", 1))


@hostile
def test_it_becomes_no_name_of_a_link_or_a_lock(text: str) -> None:
    text = text.encode(errors="replace").decode()  # dockerd's JSON holds no half pairs
    for name in addressing.link_names(text):
        assert re.fullmatch(r"[0-9A-Za-z_]{13,15}", name)
    for name in (hosts.presence_lock(text), hosts.name_lock(text), hosts.session_lock(text)):
        assert re.fullmatch(r"\w+", name)


@hostile
def test_it_becomes_no_name_of_a_file(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid name of a Docker plugin"):
        settings_of("--driver-name", text)
    with pytest.raises(RequestError, match="is not a valid name"):
        address_pools.check_context(text)


@hostile
def test_a_command_that_an_error_tells_to_type_holds_it_as_one_word(text: str) -> None:
    shared = SharedNetwork("n", text, "", "", ("10.0.0.0/24",), "", False, False, False, None)  # noqa: FBT003
    with pytest.raises(ConflictError) as refused:
        _agree(shared, {}, "h1")
    command = str(refused.value).partition(" with '")[2].removesuffix("'")
    assert shlex.split(command) == [
        *("ovn-nbctl", "set", "Logical_Switch", text, f"external_ids:{switches.ALLOW}=true")
    ]


@hostile
def test_a_container_s_names_and_labels_are_values_of_json_and_nothing_else(text: str) -> None:
    text = text.encode(errors="replace").decode()  # Docker's JSON holds no half pairs
    container = Container(container_id="c", name=text.replace("\0", ""), labels={text: text, "b": text})
    row = to_map(names_of(container))
    sent = encode_request({"method": "transact", "params": [row], "id": 1})
    assert mapping(json.loads(sent)["params"][0]) == names_of(container)


@pytest.mark.parametrize("text", ["nul\0byte", "half \ud800 a pair"])
def test_what_would_make_a_server_of_ovsdb_hang_up_is_not_sent(text: str) -> None:
    for value in (text, [text], {text: 1}, {"a": [("b", text)]}):
        with pytest.raises(UnstorableError, match="a text cannot be stored in OVSDB"):
            encode_request({"method": "transact", "params": [value], "id": 1})
    assert b"u0000" in encode_request({"method": "transact", "params": ["\\u0000"], "id": 1})


@hostile
def test_what_a_switch_s_row_says_is_refused_or_taken_as_data(text: str) -> None:
    row = {"external_ids": to_map({switches.MTU: text, switches.INTERNAL: text, switches.HOST: text})}
    switch = switches.read_switch("n", row)
    assert (switch.mtu, switch.internal, switch.host) == (None, False, text)
    with pytest.raises(RequestError):
        switches.read_switch("n", {"external_ids": to_map({switches.POOL + text: "v4"})})
    assert switches.switch_id(text.encode(errors="replace").decode()) != uuid4()


# --- What would make it a command ---------------------------------------------------------------------------

CODE = {"pickle", "marshal", "shelve", "dill", "pty", "commands.getoutput"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "execv", "spawnv", "posix_spawn"}
UNSAFE_YAML = {"load", "load_all", "full_load", "full_load_all", "unsafe_load"}
LAB = "lab"


def sources() -> list[Path]:
    package = Path(ovn_docker.__file__).parent
    return [path for path in sorted(package.rglob("*.py")) if LAB not in path.relative_to(package).parts]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_nothing_of_the_driver_runs_what_it_reads(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    called = {
        getattr(node.func, "id", getattr(node.func, "attr", ""))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and "re.compile" not in ast.unparse(node.func)
    }
    assert imported & (CODE | {"subprocess", "multiprocessing"}) == set()
    assert called & CALLS == set()
    assert "yaml" not in imported or called & UNSAFE_YAML == set()
