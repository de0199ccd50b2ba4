"""The managed plugin: its settings mean flags of the driver; config.json asks for what it needs only."""

import json
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.cli import managed_plugin
from ovn_docker.errors import ConfigError
from ovn_docker.settings import FLAGS, plugin_arguments

ROOT = Path(__file__).parents[2]
CONFIG = json.loads((ROOT / "packaging" / "plugin" / "config.json").read_text())
FIXED = {flag.names[-1]: flag.fixed for flag in FLAGS if flag.fixed}


def test_every_mount_is_in_the_reference() -> None:
    section = (ROOT / "docs" / "reference" / "plugin.md").read_text().partition("\n## Mounts\n")[2]
    for mount in CONFIG["mounts"]:
        assert f"| `{mount['name']}` | `{mount['source']}` |" in section


def test_the_socket_is_where_docker_looks_for_it() -> None:
    assert FIXED["--unix-socket"] == f"/run/docker/plugins/{CONFIG['interface']['socket']}"
    assert CONFIG["interface"]["types"] == ["docker.networkdriver/1.0", "docker.ipamdriver/1.0"]


def test_it_asks_for_no_more_than_it_needs() -> None:
    assert CONFIG["network"] == {"type": "host"}
    assert CONFIG["linux"] == {"capabilities": ["CAP_NET_ADMIN"]}
    mounts = {mount["name"]: mount for mount in CONFIG["mounts"]}
    assert set(mounts) == {"openvswitch", "state", "certificates", "docker"}
    assert mounts["certificates"]["options"] == ["rbind", "ro"]
    assert mounts["docker"]["source"] == "/dev/null"
    assert mounts["docker"]["destination"] == FIXED["--docker-socket"].removeprefix("unix://")
    assert not {"pidhost", "ipchost", "propagatedMount"} & CONFIG.keys()


def test_no_shell_starts_it() -> None:
    program, *rest = CONFIG["entrypoint"]
    assert program == "/usr/bin/python3"
    assert rest[-2:] == ["-m", managed_plugin.__name__]


def test_unset_the_settings_are_the_drivers_defaults_and_the_plugins_name() -> None:
    read = managed_plugin.read({setting["name"]: setting["value"] for setting in CONFIG["env"]})
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
    assert [str(pool) for pool in read.default_pools] == [
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
def test_a_value_that_cannot_be_used_is_one_line(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        managed_plugin.read(settings)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_a_value_that_looks_like_a_flag_is_a_value() -> None:
    assert "--routing-context=--distributed" in plugin_arguments({"ROUTING_CONTEXT": "--distributed"})
