"""The process of Docker's managed plugin: ``python -m ovn_docker.cli.managed_plugin``."""

import argparse
import asyncio
import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from ovn_docker import logs
from ovn_docker import settings as config
from ovn_docker import settings as plugin_settings
from ovn_docker.cli import capabilities
from ovn_docker.cli import main as cli
from ovn_docker.daemon import process
from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.sockets import BACKLOG, bind_unix

PROGRAM = "ovn-docker"
KEPT = (capabilities.NET_ADMIN, capabilities.DAC_OVERRIDE, capabilities.NET_BIND_SERVICE)
"""For links; for sockets and keys of a user of Open vSwitch's own; for a `BIND_PORT` below 1024.

Docker gives a plugin what every container has, and what its config.json asks for besides.
"""


class _Parser(argparse.ArgumentParser):
    """Tells of a setting that cannot be used in one line, without the usage of what nobody typed."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"a setting cannot be used: {message}")


def read(environment: Mapping[str, str]) -> config.Config:
    """The configuration that the settings mean.

    Args:
        environment: of the process, as Docker makes it of the settings.

    Raises:
        ConfigError: a setting cannot be used; the text names it, or the flag that it stands for.
    """
    parser = _Parser(prog=PROGRAM)
    config.add_arguments(parser)
    return config.read(parser.parse_args(plugin_settings.plugin_arguments(environment)), managed=True)


def main() -> int:
    """Serve Docker until stopped; the exit status."""
    return cli.reported(PROGRAM, _serve)


def _serve() -> int:
    capabilities.keep_only(KEPT)
    settings = read(os.environ)
    listening = _listen(settings)
    logs.configure(settings.levels, None, console=logs.DockerdConsole(), syslog=False)
    _see_to_docker(settings)
    ready = process.daemonize(settings.daemon)
    from ovn_docker.daemon import serve  # noqa: PLC0415  (0.3 s; see _listen)

    asyncio.run(serve.serve(settings, ready, bound=listening))
    return 0


def _listen(settings: config.Config) -> socket.socket:
    """Listen before the rest is loaded.

    dockerd tries the socket half a second after the start and then every three, three times; a plugin that it
    could not reach by then fails, and dockerd's own start with it (moby plugin/manager_linux.go,
    pluginPostStart; moby PR 51488).
    """
    assert settings.unix_socket is not None
    listening = bind_unix(settings.unix_socket)
    listening.listen(BACKLOG)
    return listening


def _see_to_docker(settings: config.Config) -> None:
    """Tell what the health check lacks: an upgrade takes the mount's source back, and shows it not."""
    path = Path(settings.health.docker_socket.removeprefix("unix://"))
    if settings.health.on and not (path.exists() and stat.S_ISSOCK(path.stat().st_mode)):
        sys.stderr.write(
            f"{PROGRAM}: HEALTH_CHECK_ON needs Docker's API: disable the plugin and set"
            " docker.source=/run/docker.sock\n"
        )


if __name__ == "__main__":
    sys.exit(main())
