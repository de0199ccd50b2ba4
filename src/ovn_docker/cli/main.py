"""The entry points: argv in, exit status out. Only they and the other commands print."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ovn_docker import __version__, logs, settings
from ovn_docker.daemon import process
from ovn_docker.errors import OvnDockerError
from ovn_docker.settings import Program, Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """``ovn-docker``: what an operator types."""
    parser = argparse.ArgumentParser(prog="ovn-docker", description="Docker networking on OVN.")
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    if list(sys.argv[1:] if arguments is None else arguments)[:1] == ["lab"]:
        parser.error("the lab is the program ovn-docker-lab, of the package of that name")
    from ovn_docker.cli import check, gc, vtep  # noqa: PLC0415  (the driver's start does not need them)

    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (check, gc, vtep):
        command.register(commands)
    parsed = parser.parse_args(arguments)
    # A command prints its own errors; the log of its parts would repeat them.
    logs.configure(logs.parse(["console:err"]), None, console=True, syslog=False)
    return reported(parser.prog, lambda: _printed(lambda: int(parsed.run(parsed))))


def _printed(work: Callable[[], int]) -> int:
    """Do it; where the reader of its output stops reading (``| head``), end as by SIGPIPE."""
    try:
        status = work()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit meets it again
        return 128 + signal.SIGPIPE
    return status


def overlay_driver(arguments: Sequence[str] | None = None) -> int:
    """``ovn-docker-overlay-driver``: serve Docker until stopped."""
    parser = argparse.ArgumentParser(
        prog=Program.OVERLAY,
        description="Serve Docker as a network driver whose networks are OVN logical switches.",
        epilog="What concerns the host rather than this process is read from Open_vSwitch: external_ids"
        " ovn-nb, ovn-remote, ovn-bridge, system-id and ovn-encap-*.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    settings.add_arguments(parser, Program.OVERLAY)
    parsed = parser.parse_args(arguments)
    return reported(parser.prog, lambda: _serve(settings.read(parsed, Program.OVERLAY)))


def underlay_driver(arguments: Sequence[str] | None = None) -> int:
    """``ovn-docker-underlay-driver``: serve Docker inside an OpenStack machine until stopped."""
    parser = argparse.ArgumentParser(
        prog=Program.UNDERLAY,
        description="Serve Docker as a network driver whose endpoints are ports of OpenStack Neutron.",
        epilog="The login is read from the environment, as an openrc file sets it, or from clouds.yaml when"
        " OS_CLOUD is set; OS_VIF_ID is the Neutron port of this machine's interface.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    settings.add_arguments(parser, Program.UNDERLAY)
    parsed = parser.parse_args(arguments)
    return reported(parser.prog, lambda: _serve_underlay(settings.read(parsed, Program.UNDERLAY)))


def _serve_underlay(config: Settings) -> int:
    from ovn_docker.cli.target import read_machine  # noqa: PLC0415
    from ovn_docker.daemon import components  # noqa: PLC0415  (0.2 s that --help does not need)

    # Before the process detaches: it may have to ask for the password.
    machine = read_machine(os.environ, config)
    return _serve(config, lambda *handed: components.assemble_underlay(machine, *handed))


def _serve(config: Settings, assemble: Callable[..., Any] | None = None) -> int:
    syslog = config.daemon.detach and config.log_file is None
    logs.configure(config.levels, config.log_file, console=True, syslog=syslog)
    ready = process.daemonize(config.daemon)
    from ovn_docker.daemon import serve  # noqa: PLC0415  (the web server: 0.15 s that --help does not need)

    asyncio.run(serve.serve(config, ready, assemble) if assemble else serve.serve(config, ready))
    return 0


def reported(program: str, work: Callable[[], int]) -> int:
    """Do it; an error is one line on standard error."""
    try:
        return work()
    except OvnDockerError as error:
        print(f"{program}: {logs.escape(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
