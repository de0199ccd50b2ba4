"""Settings of Docker's managed plugin, and the driver's flags that they stand for. Pure.

Owns what a setting of ``docker plugin set`` is called and what its value may be. What Docker is told of them
is in packaging/plugin/config.json, which a test compares with this.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ovn_docker import settings as config
from ovn_docker.errors import ConfigError

DRIVER_NAME = "ovn"
"""What the plugin is called unless its user says otherwise: Docker puts ``:latest`` behind it."""

FIXED: Mapping[str, tuple[str, str]] = {
    "--unix-socket": (
        "/run/docker/plugins/ovn.sock",
        "Docker's directory (moby plugin/v2/plugin_linux.go) and the socket of config.json",
    ),
    "--plugin-dir": ("/run", "Docker finds a managed plugin by its name, so nobody reads a plugin file"),
    "--docker-socket": ("unix:///run/docker.sock", "where the mount `docker` puts it: set `docker.source`"),
}
"""Flags that are the plugin's own affair: their values, and why."""

LEFT_OUT: Mapping[str, str] = {
    "--plugin-file-ca": "Docker comes by the unix socket",
    "--plugin-file-cert": "Docker comes by the unix socket",
    "--plugin-file-key": "Docker comes by the unix socket",
    "--detach": "dockerd starts the process and waits for its socket",
    "--no-chdir": "it goes with `--detach`",
    "--pidfile": "dockerd knows the process",
    "--overwrite-pidfile": "it goes with `--pidfile`",
    "--monitor": "dockerd starts the process again when it ends",
    "--log-file": "dockerd's log has the plugin's lines",
    "--help": "`docker plugin inspect` shows the settings",
}
"""Flags that mean nothing there, and why."""

TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: of the environment variable, ``HEALTH_CHECK_ON``.
        flag: what it stands for, ``--health-check-on``.
        meaning: the flag's help.
        default: what it is until it is set, or "" for the flag's own default.
        switch: whether the flag has no value; the setting is true or false then.
        repeated: whether the flag may be given several times; the setting has spaces between its values then.
    """

    name: str
    flag: str
    meaning: str
    default: str
    switch: bool
    repeated: bool

    def arguments(self, value: str) -> list[str]:
        """The setting as arguments of the driver.

        Args:
            value: as set; one without a visible character is as if not set.

        Raises:
            ConfigError: it is neither true nor false and has to be.
        """
        value = value.strip() or self.default
        if not value:
            return []
        if self.repeated:
            return [f"{self.flag}={each}" for each in value.split()]
        if not self.switch:
            return [f"{self.flag}={value}"]
        if value.lower() not in TRUE | FALSE:
            raise ConfigError(f"setting {self.name} is '{value}': set it to true or false")
        return [self.flag] if value.lower() in TRUE else []


def settings() -> Iterator[Setting]:
    """All settings, in the order of the driver's help."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    formatter = parser._get_formatter()  # noqa: SLF001  (it fills in the defaults that a help text names)
    for action in parser._actions:  # noqa: SLF001  (argparse lists them nowhere else)
        flag = next(each for each in action.option_strings if each.startswith("--"))
        if flag in FIXED or flag in LEFT_OUT:
            continue
        yield Setting(
            name=flag.removeprefix("--").replace("-", "_").upper(),
            flag=flag,
            meaning=formatter._expand_help(action),  # noqa: SLF001
            default=DRIVER_NAME if flag == "--driver-name" else "",
            switch=action.nargs == 0,
            repeated=isinstance(action, argparse._AppendAction),  # noqa: SLF001
        )


def arguments(environment: Mapping[str, str]) -> list[str]:
    """The driver's arguments that an environment means.

    Args:
        environment: of the plugin's process, as Docker makes it of the settings.

    Raises:
        ConfigError: a setting cannot be used; the text names it.
    """
    given = [f"{flag}={value}" for flag, (value, _why) in FIXED.items()]
    for each in settings():
        given += each.arguments(environment.get(each.name, ""))
    return given
