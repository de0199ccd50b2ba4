"""The commands: argv in, exit status out. The only place that prints."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ovn_docker import __version__, logs
from ovn_docker import settings as config
from ovn_docker import settings as underlay_flags
from ovn_docker.daemon import process
from ovn_docker.errors import OvnDockerError


def main(arguments: Sequence[str] | None = None) -> int:
    """``ovn-docker``: what an operator types."""
    parser = argparse.ArgumentParser(prog="ovn-docker", description="Docker networking on OVN.")
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    if list(sys.argv[1:] if arguments is None else arguments)[:1] == ["lab"]:
        parser.error("the lab is the program ovn-docker-lab, of the package of that name")
    from ovn_docker.cli import check, gc, vtep  # noqa: PLC0415  (the driver's start need not wait for them)

    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for each in (check, gc, vtep):
        each.register(commands)
    parsed = parser.parse_args(arguments)
    # What a command cannot do it says itself; the log of its parts would say it once more.
    logs.configure(logs.parse(["console:err"]), None, console=True, syslog=False)
    return reported(parser.prog, lambda: _printed(lambda: int(parsed.run(parsed))))


def _printed(work: Callable[[], int]) -> int:
    """Do it; who reads what it prints may stop reading (``| head``), and then it ends as by SIGPIPE."""
    try:
        status = work()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it is met again at the exit
        return 128 + signal.SIGPIPE
    return status


def overlay_driver(arguments: Sequence[str] | None = None) -> int:
    """``ovn-docker-overlay-driver``: serve Docker until stopped."""
    parser = argparse.ArgumentParser(
        prog=config.PROGRAM,
        description="Serve Docker as a network driver that makes OVN logical switches.",
        epilog="The host's part in OVN is read from Open_vSwitch: external_ids ovn-nb, ovn-remote,"
        " ovn-bridge, system-id and ovn-encap-*.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    config.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    return reported(parser.prog, lambda: _serve(config.read(parsed)))


def underlay_driver(arguments: Sequence[str] | None = None) -> int:
    """``ovn-docker-underlay-driver``: serve Docker inside an OpenStack machine until stopped."""
    parser = argparse.ArgumentParser(
        prog=underlay_flags.UNDERLAY_PROGRAM,
        description="Serve Docker as a network driver that makes ports of OpenStack Neutron.",
        epilog="The login is read from the environment, as an openrc file sets it, or from clouds.yaml when"
        " OS_CLOUD is set; OS_VIF_ID is the Neutron port of this machine's interface.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    underlay_flags.add_underlay_arguments(parser)
    parsed = parser.parse_args(arguments)
    return reported(
        parser.prog, lambda: _serve_underlay(*underlay_flags.read_underlay(parsed), parsed.child_ports)
    )


def _serve_underlay(settings: config.Settings, bridge: str, child_ports: str) -> int:
    from ovn_docker.cli.target import read_machine  # noqa: PLC0415
    from ovn_docker.daemon import components  # noqa: PLC0415  (0.2 s that --help need not wait for)

    # Before the process detaches: it may have to ask for the password.
    machine = replace(read_machine(os.environ, bridge), child_ports=child_ports)
    return _serve(settings, lambda *handed: components.assemble_underlay(machine, *handed))


def _serve(settings: config.Settings, assemble: Callable[..., Any] | None = None) -> int:
    syslog = settings.daemon.detach and settings.log_file is None
    logs.configure(settings.levels, settings.log_file, console=True, syslog=syslog)
    ready = process.daemonize(settings.daemon)
    from ovn_docker.daemon import serve  # noqa: PLC0415  (the web server: 0.15 s that --help need not wait for)

    asyncio.run(serve.serve(settings, ready, assemble) if assemble else serve.serve(settings, ready))
    return 0


def reported(program: str, work: Callable[[], int]) -> int:
    """Do it; what goes wrong is one line on standard error."""
    try:
        return work()
    except OvnDockerError as error:
        print(f"{program}: {logs.escape(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
