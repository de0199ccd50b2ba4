"""The managed plugin's settings: every flag of the driver has one, and config.json tells Docker of all."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from ovn_docker import settings as config
from ovn_docker import settings as plugin_settings
from ovn_docker.cli import managed_plugin
from ovn_docker.errors import ConfigError
from ovn_docker.settings import FIXED, LEFT_OUT
from ovn_docker.settings import plugin_settings as settings

ROOT = Path(__file__).parents[2]
TOLD = json.loads((ROOT / "packaging" / "plugin" / "config.json").read_text())
PAGE = (ROOT / "docs" / "reference" / "plugin.md").read_text()


def flags() -> set[str]:
    """The driver's flags by their long names."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    return {each for action in parser._actions for each in action.option_strings if each.startswith("--")}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page, but for its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_every_flag_is_a_setting_or_is_told_why_not() -> None:
    named = [each.flag for each in settings()] + list(FIXED) + list(LEFT_OUT)
    assert len(named) == len(set(named))
    assert set(named) == flags()


def test_docker_is_told_of_every_setting_and_of_no_other() -> None:
    wanted = [
        {"name": each.name, "description": each.meaning, "settable": ["value"], "value": each.default}
        for each in settings()
    ]
    assert TOLD["env"] == wanted


def test_every_setting_is_in_the_reference() -> None:
    wanted = [[f"`{each.name}`", f"`{each.flag}`"] for each in settings()]
    assert [row[:2] for row in rows("Settings")] == wanted


def test_every_mount_is_in_the_reference() -> None:
    wanted = [[f"`{each['name']}`", f"`{each['source']}`"] for each in TOLD["mounts"]]
    assert [row[:2] for row in rows("Mounts")] == wanted


def test_every_flag_that_is_no_setting_is_in_the_reference_with_the_reason() -> None:
    wanted = [[f"`{flag}`", f"`{value}`", why] for flag, (value, why) in FIXED.items()]
    wanted += [[f"`{flag}`", "", why] for flag, why in LEFT_OUT.items()]
    assert rows("Flags that are no settings") == wanted


def test_the_socket_is_where_docker_looks_for_it() -> None:
    assert FIXED["--unix-socket"][0] == f"/run/docker/plugins/{TOLD['interface']['socket']}"
    assert TOLD["interface"]["types"] == ["docker.networkdriver/1.0", "docker.ipamdriver/1.0"]


def test_it_asks_for_no_more_than_it_needs() -> None:
    assert TOLD["network"] == {"type": "host"}
    assert TOLD["linux"] == {"capabilities": ["CAP_NET_ADMIN"]}
    mounts = {each["name"]: each for each in TOLD["mounts"]}
    assert set(mounts) == {"openvswitch", "state", "certificates", "docker"}
    assert mounts["certificates"]["options"] == ["rbind", "ro"]
    assert mounts["docker"]["source"] == "/dev/null"
    assert mounts["docker"]["destination"] == FIXED["--docker-socket"][0].removeprefix("unix://")
    assert not {"pidhost", "ipchost", "propagatedMount"} & TOLD.keys()


def test_no_shell_starts_it() -> None:
    program, *rest = TOLD["entrypoint"]
    assert program == "/usr/bin/python3"
    assert rest[-2:] == ["-m", managed_plugin.__name__]


def test_unset_the_settings_are_the_drivers_defaults_and_the_plugins_name() -> None:
    read = managed_plugin.read({each["name"]: each["value"] for each in TOLD["env"]})
    assert read == managed_plugin.read({"PATH": "/bin"})
    assert (read.driver_name, read.scope, read.bind) == ("ovn", "global", None)
    assert str(read.unix_socket) == "/run/docker/plugins/ovn.sock"
    assert str(read.state_file) == "/var/lib/ovn-docker/ovn.json"
    assert not read.health.on


def test_what_is_set_reaches_the_driver() -> None:
    read = managed_plugin.read(
        {
            "HEALTH_CHECK_ON": "true",
            "DISTRIBUTED": "false",
            "IP_LOOKUP": " ",
            "HEALTH_CHECK_INTERVAL": "7",
            "DEFAULT_ADDRESS_POOL": "base=10.1.0.0/16,size=24 base=10.2.0.0/16,size=28",
            "DRIVER_NAME": "example.org:5000/team/ovn",
            "BIND_IP": "127.0.0.1",
            "VERBOSE": "overlay_driver:dbg console:warn",
        }
    )
    assert (read.health.on, read.distributed, read.ip_lookup) == (True, False, False)
    assert read.health.interval == 7
    assert [str(each) for each in read.default_pools] == [
        "base=10.1.0.0/16,size=24",
        "base=10.2.0.0/16,size=28",
    ]
    assert str(read.state_file) == "/var/lib/ovn-docker/example.org:5000_team_ovn.json"
    assert read.bind == ("127.0.0.1", 5000)
    assert read.levels.threshold("console", "overlay") > read.levels.threshold("file", "overlay")


@pytest.mark.parametrize("word", ["true", "1", "YES", "on"])
def test_a_switch_may_be_set_in_several_words(word: str) -> None:
    assert managed_plugin.read({"DISTRIBUTED": word}).distributed


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"HEALTH_CHECK_ON": "maybe"}, "setting HEALTH_CHECK_ON is 'maybe': set it to true or false"),
        ({"DOCKER_DRIVER_SCOPE": "world"}, "a setting cannot be used: argument --docker-driver-scope: "),
        ({"BIND_PORT": "x"}, "a setting cannot be used: argument --bind-port: "),
        ({"HEALTH_CHECK_INTERVAL": "0"}, "--health-check-interval 0: give 1 s or more"),
        (
            {"DRIVER_NAME": "ovn:latest:"},
            "--driver-name 'ovn:latest:' is not a valid name of a Docker plugin",
        ),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        managed_plugin.read(settings)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_a_value_that_looks_like_a_flag_is_a_value() -> None:
    [each] = [each for each in settings() if each.name == "ROUTING_CONTEXT"]
    assert each.arguments("--distributed") == ["--routing-context=--distributed"]
    assert plugin_settings.plugin_arguments({"ROUTING_CONTEXT": "red"})[-1:] != ["red"]
