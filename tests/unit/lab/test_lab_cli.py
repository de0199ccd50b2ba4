"""What is typed after `ovn-docker-lab`."""

import argparse

import pytest

from ovn_docker_lab.cli import add_commands

FAULTS = (
    ["kill", "h1", "dockerd"],
    ["start", "h1", "dockerd", "--live-restore"],
    ["reboot", "h1"],
    ["cut", "central"],
    ["repair", "h1"],
)


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    return parser.parse_args(arguments)


def test_flags_after_the_host_belong_to_the_command() -> None:
    arguments = parse("exec", "--name", "a", "h1", "--", "ls", "--name", "x")
    assert (arguments.name, arguments.host) == ("a", "h1")
    assert [word for word in arguments.rest if word != "--"] == ["ls", "--name", "x"]


def test_flags_of_docker_need_no_separator() -> None:
    arguments = parse("docker", "h2", "run", "--rm", "-it", "--name", "web", "busybox")
    assert arguments.host == "h2"
    assert arguments.rest == ["run", "--rm", "-it", "--name", "web", "busybox"]


def test_flags_after_the_daemon_are_the_daemon_s() -> None:
    arguments = parse("start", "--name", "a", "h1", "dockerd", "--live-restore", "--name", "b")
    assert (arguments.name, arguments.daemon) == ("a", "dockerd")
    assert arguments.rest == ["--live-restore", "--name", "b"]


def test_every_command_can_be_run() -> None:
    for command in (["up"], ["down"], ["ls"], ["exec", "h1"], ["docker", "h1"], *FAULTS):
        assert callable(parse(*command).run)


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse()
    assert "COMMAND" in capsys.readouterr().err
