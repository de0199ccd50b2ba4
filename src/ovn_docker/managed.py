"""The driver as Docker's managed plugin: settings in, flags out. Pure but for `main`.

Owns what a setting of ``docker plugin set`` is called and which flag it stands for. What Docker shows of them is
in packaging/plugin/config.json, which a test compares with this.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ovn_docker import cli, config
from ovn_docker.errors import ConfigError

SOCKET = "/run/docker/plugins/ovn.sock"
"""dockerd puts the directory there; the file's name is config.json's (moby plugin/v2/plugin_linux.go)."""

FIXED: Mapping[str, str] = {
    "--unix-socket": SOCKET,
}
"""Flags that Docker decides about, and their values."""

LEFT_OUT: Mapping[str, str] = {
    "--plugin-dir": "Docker finds a managed plugin by its name",
    "--plugin-file-ca": "Docker comes by the unix socket",
    "--plugin-file-cert": "Docker comes by the unix socket",
    "--plugin-file-key": "Docker comes by the unix socket",
    "--detach": "dockerd starts the process and waits for its socket",
    "--no-chdir": "it is for --detach",
    "--pidfile": "dockerd knows the process",
    "--overwrite-pidfile": "it is for --pidfile",
    "--monitor": "dockerd starts the process again when it ends",
    "--log-file": "dockerd's log has the plugin's",
    "--version": "docker plugin inspect shows it",
    "--help": "docker plugin inspect shows the settings",
}
"""Flags that are no settings, and why."""

DEFAULT_NAME = "ovn"
"""The plugin's name in the documents; Docker puts ``:latest`` behind it."""

TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: the environment variable, ``HEALTH_CHECK_ON``.
        flag: what it stands for, ``--health-check-on``.
        meaning: the flag's help.
        switch: whether the flag has no value; the setting is true or false then.
        repeated: whether the flag may be given again; the setting has its values with spaces between then.
    """

    name: str
    flag: str
    meaning: str
    switch: bool
    repeated: bool

    def flags(self, value: str) -> list[str]:
        """The setting as arguments of the driver.

        Args:
            value: as set; an empty one leaves the driver's default.

        Raises:
            ConfigError: neither true nor false, where it has to be.
        """
        if not value.strip():
            return []
        if self.repeated:
            return [f"{self.flag}={each}" for each in value.split()]
        if not self.switch:
            return [f"{self.flag}={value}"]
        if value.lower() in TRUE:
            return [self.flag]
        if value.lower() in FALSE:
            return []
        raise ConfigError(f"setting {self.name} is '{value}': set it to true or false")


def settings() -> Iterator[Setting]:
    """All settings, in the order of the driver's help."""
    # The formatter fills in the defaults that a help text names.
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    formatter = argparse.HelpFormatter(parser.prog)
    for action in parser._actions:  # noqa: SLF001  (argparse has no other way to list them)
        flag = next(each for each in action.option_strings if each.startswith("--"))
        if flag in FIXED or flag in LEFT_OUT:
            continue
        yield Setting(
            name=flag.removeprefix("--").replace("-", "_").upper(),
            flag=flag,
            meaning=formatter._expand_help(action),  # noqa: SLF001
            switch=action.nargs == 0,
            repeated=isinstance(action, argparse._AppendAction),  # noqa: SLF001
        )


def arguments(environment: Mapping[str, str]) -> list[str]:
    """The driver's arguments that an environment means.

    Args:
        environment: of the process, as Docker makes it of the settings.

    Raises:
        ConfigError: a setting cannot be used; the text names it.
    """
    fixed = [f"{flag}={value}" for flag, value in FIXED.items()]
    return fixed + [
        argument for each in settings() for argument in each.flags(environment.get(each.name, ""))
    ]


def main() -> int:
    """Serve Docker until stopped."""
    try:
        given = arguments(os.environ)
    except ConfigError as error:
        sys.stderr.write(f"ovn-docker: {error}\n")
        return 1
    return cli.overlay_driver(given)


if __name__ == "__main__":
    sys.exit(main())
