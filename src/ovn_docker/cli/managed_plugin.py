"""The process of Docker's managed plugin: ``python -m ovn_docker.cli.managed_plugin``."""

import argparse
import asyncio
import ctypes
import os
import socket
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from ovn_docker import logs
from ovn_docker import settings as config
from ovn_docker import settings as plugin_settings
from ovn_docker.cli import main as cli
from ovn_docker.daemon import process
from ovn_docker.errors import ConfigError, HostError
from ovn_docker.libnetwork.plugin_discovery import BACKLOG, bind_unix

# --- Which of root's rights the process keeps (capabilities(7)). --------------------------------------------


DAC_OVERRIDE, NET_BIND_SERVICE, NET_ADMIN = 1, 10, 12
"""linux/capability.h."""

_VERSION, _WORDS, _BITS = 0x20080522, 2, 32
_SET_NO_NEW_PRIVS = 38
"""linux/prctl.h."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    """32 capabilities of each set; two of these are all of them."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


def keep_only(numbers: Iterable[int]) -> None:
    """Give up every other capability for good: no program that is executed gets one back.

    It is of the calling thread and of those that this one starts. What the process lacks is no error.

    Args:
        numbers: such as `NET_ADMIN`.

    Raises:
        HostError: the kernel refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = sum(1 << number for number in set(numbers))
    header, words = _Header(_VERSION, 0), (_Word * _WORDS)()
    _check(libc.capget(ctypes.byref(header), words))
    for index, word in enumerate(words):
        word.permitted &= wanted >> _BITS * index
        word.effective, word.inheritable = word.permitted, 0
    _check(libc.capset(ctypes.byref(header), words))
    # With this, execve(2) gives root nothing either that it has not (prctl(2), PR_SET_NO_NEW_PRIVS).
    _check(libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise HostError(f"capabilities cannot be given up: {os.strerror(ctypes.get_errno())}")


PROGRAM = "ovn-docker"
KEPT = (NET_ADMIN, DAC_OVERRIDE, NET_BIND_SERVICE)
"""For links; for sockets and keys of a user of Open vSwitch's own; for a `BIND_PORT` below 1024.

Docker gives a plugin what every container has, and what its config.json asks for besides.
"""


class _Parser(argparse.ArgumentParser):
    """Tells of a setting that cannot be used in one line, without the usage of what nobody typed."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"a setting cannot be used: {message}")


def read(environment: Mapping[str, str]) -> config.Settings:
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
    keep_only(KEPT)
    settings = read(os.environ)
    listening = _listen(settings)
    logs.configure(settings.levels, None, console=logs.DockerdConsole(), syslog=False)
    _see_to_docker(settings)
    ready = process.daemonize(settings.daemon)
    from ovn_docker.daemon import serve  # noqa: PLC0415  (0.3 s; see _listen)

    asyncio.run(serve.serve(settings, ready, bound=listening))
    return 0


def _listen(settings: config.Settings) -> socket.socket:
    """Listen before the rest is loaded.

    dockerd tries the socket half a second after the start and then every three, three times; a plugin that it
    could not reach by then fails, and dockerd's own start with it (moby plugin/manager_linux.go,
    pluginPostStart; moby PR 51488).
    """
    assert settings.unix_socket is not None
    listening = bind_unix(settings.unix_socket)
    listening.listen(BACKLOG)
    return listening


def _see_to_docker(settings: config.Settings) -> None:
    """Tell what the health check lacks: an upgrade takes the mount's source back, and shows it not."""
    path = Path(settings.health.docker_socket.removeprefix("unix://"))
    if settings.health.on and not (path.exists() and stat.S_ISSOCK(path.stat().st_mode)):
        sys.stderr.write(
            f"{PROGRAM}: HEALTH_CHECK_ON needs Docker's API: disable the plugin and set"
            " docker.source=/run/docker.sock\n"
        )


if __name__ == "__main__":
    sys.exit(main())
