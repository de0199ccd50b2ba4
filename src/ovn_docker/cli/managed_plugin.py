"""The process of Docker's managed plugin: ``python -m ovn_docker.cli.managed_plugin``."""

import argparse
import asyncio
import ctypes
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from ovn_docker import logs, settings
from ovn_docker.cli.main import reported
from ovn_docker.daemon import process
from ovn_docker.errors import ConfigError, HostError
from ovn_docker.libnetwork.plugin_discovery import BACKLOG, bind_unix
from ovn_docker.settings import Program, Settings

# --- The capabilities that the process keeps (capabilities(7)) ----------------------------------------------

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
    """Drop every other capability for good: no program that is executed gets one back.

    This holds for the calling thread and those that it starts. A capability that the process lacks is
    not an error.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = sum(1 << number for number in set(numbers))
    header, words = _Header(_VERSION, 0), (_Word * _WORDS)()
    _check(libc.capget(ctypes.byref(header), words))
    for index, word in enumerate(words):
        word.permitted &= wanted >> _BITS * index
        word.effective, word.inheritable = word.permitted, 0
    _check(libc.capset(ctypes.byref(header), words))
    # With this, execve(2) gives root nothing that it does not have (prctl(2), PR_SET_NO_NEW_PRIVS).
    _check(libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise HostError(f"capabilities cannot be dropped: {os.strerror(ctypes.get_errno())}")


PROGRAM = "ovn-docker"
KEPT = (NET_ADMIN, DAC_OVERRIDE, NET_BIND_SERVICE)
"""For links; for sockets and keys that belong to Open vSwitch's user; for a `BIND_PORT` below 1024.

Docker gives a plugin what every container has, and what its config.json asks for.
"""


class _Parser(argparse.ArgumentParser):
    """Reports a setting that cannot be used in one line, without the usage of flags that nobody typed."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"a setting cannot be used: {message}")


def read(environment: Mapping[str, str]) -> Settings:
    """What the plugin's settings mean; an error names the setting, or the flag that it stands for."""
    parser = _Parser(prog=PROGRAM)
    settings.add_arguments(parser, Program.PLUGIN)
    return settings.read(parser.parse_args(settings.plugin_arguments(environment)), Program.PLUGIN)


def main() -> int:
    """Serve Docker until stopped; the exit status."""
    return reported(PROGRAM, _serve)


def _serve() -> int:
    keep_only(KEPT)
    config = read(os.environ)
    # Before the rest is loaded: dockerd tries the socket half a second after the start and then every three,
    # three times. If that fails, so does the plugin, and dockerd's own start (moby plugin/manager_linux.go,
    # pluginPostStart; PR 51488).
    assert config.unix_socket is not None
    listening = bind_unix(config.unix_socket)
    listening.listen(BACKLOG)
    logs.configure(config.levels, None, console=logs.DockerdConsole(), syslog=False)
    docker = Path(config.health.docker_socket.removeprefix("unix://"))
    if config.health.on and not docker.is_socket():  # an upgrade resets the mount's source
        sys.stderr.write(
            f"{PROGRAM}: HEALTH_CHECK_ON needs Docker's API: disable the plugin and set"
            " docker.source=/run/docker.sock\n"
        )
    ready = process.daemonize(config.daemon)
    from ovn_docker.daemon import serve  # noqa: PLC0415  (0.3 s)

    asyncio.run(serve.serve(config, ready, bound=listening))
    return 0


if __name__ == "__main__":
    sys.exit(main())
