"""The program `ovn-docker-lab`: a thin layer over Lab."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence

from ovn_docker.errors import OvnDockerError
from ovn_docker_lab.lab import Lab, down
from ovn_docker_lab.machine import Machine
from ovn_docker_lab.plan import DEFAULT_NAME
from ovn_docker_lab.requirements import check_root

_EPILOG = """\
example:
  ovn-docker-lab up --hosts 2
  ovn-docker-lab docker h1 network create -d openvswitch --subnet 192.168.1.0/24 foo
  ovn-docker-lab docker h1 run -d --net foo --name web busybox httpd -f
  ovn-docker-lab exec central -- ovn-nbctl show
  ovn-docker-lab down
"""


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands; each sets `run`, a function from the parsed arguments to the exit status."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_up(commands)
    take_down = _add_command(commands, "down", _down, "take a lab down, whatever state it is in")
    _add_name(take_down)
    _add_command(commands, "ls", _ls, "list labs and their daemons")
    execute = _add_command(commands, "exec", _exec, "run a command on a host, on 'central' or on 'outside'")
    docker = _add_command(commands, "docker", _docker, "run docker on a host")
    for command, rest in ((execute, "CMD"), (docker, "ARGS")):
        _add_name(command)
        command.add_argument("host", metavar="HOST", help="h1, h2, ..., central or outside")
        command.add_argument("rest", metavar=rest, nargs=argparse.REMAINDER)
    _add_faults(commands)


def _add_faults(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    kill = _add_command(commands, "kill", _kill, "end a daemon with SIGKILL")
    start = _add_command(commands, "start", _start, "start a daemon again, with extra flags if given")
    reboot = _add_command(commands, "reboot", _reboot, "cut a host's power and boot it")
    cut = _add_command(commands, "cut", _cut, "unplug a machine from the network of the hosts")
    repair = _add_command(commands, "repair", _repair, "plug a machine in again and start its dead daemons")
    for command in (kill, start, reboot, cut, repair):
        _add_name(command)
        command.add_argument("host", metavar="HOST", help="h1, h2, ..., central or outside")
    for command in (kill, start):
        command.add_argument("daemon", metavar="DAEMON", help="as ls shows it")
    start.add_argument("rest", metavar="ARGS", nargs=argparse.REMAINDER)


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = _add_command(commands, "up", _up, "make a lab")
    _add_name(up)
    up.add_argument("--hosts", type=int, default=2, metavar="N", help="how many hosts (default: 2)")
    up.add_argument("--no-docker", action="store_true", help="no dockerd and no driver on the hosts")
    up.add_argument("--no-driver", action="store_true", help="no driver on the hosts")
    up.add_argument(
        "--datapath",
        choices=("system", "netdev"),
        help="the kernel's or the userspace datapath (default: the kernel's if it is there)",
    )
    up.add_argument(
        "--forwarding",
        action="store_true",
        help="the hosts' kernels forward packets before Docker starts, which then does not make FORWARD drop",
    )


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run)
    return command


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default=DEFAULT_NAME, help="name of the lab (default: %(default)s)")


def _report(line: str) -> None:
    print(line, flush=True)


def _up(arguments: argparse.Namespace) -> int:
    docker = not arguments.no_docker
    lab = Lab.up(
        arguments.name,
        arguments.hosts,
        docker=docker,
        driver=docker and not arguments.no_driver,
        datapath=arguments.datapath,
        forwarding=arguments.forwarding,
        report=_report,
    )
    option = "" if lab.name == DEFAULT_NAME else f" --name {lab.name}"
    kind = "kernel" if lab.settings.datapath == "system" else "userspace"
    _report(f"lab {lab.name} is up: central and {_count(lab)}, {kind} datapath, files in {lab.directory}")
    _report(f"  ovn-docker-lab exec{option} central -- ovn-nbctl show")
    if docker:
        _report(f"  ovn-docker-lab docker{option} h1 run --rm busybox ip addr")
    _report(f"  ovn-docker-lab down{option}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    if down(arguments.name):
        _report(f"lab {arguments.name} is down: no process, mount, namespace or link of it is left")
    else:
        _report(f"nothing is left of a lab {arguments.name}")
    return 0


def _ls(_arguments: argparse.Namespace) -> int:
    check_root()
    for name in Lab.names():
        try:
            lab = Lab.find(name)
        except OvnDockerError:
            _report(f"{name}: incomplete, take it down")
            continue
        _report(f"{name}: {_count(lab)}, {lab.settings.datapath} datapath, {lab.directory}")
        for machine in (lab.central, lab.outside, *lab.hosts):
            _report(f"  {machine.name:8} {machine.address!s:14} {_states(machine)}")
    return 0


def _count(lab: Lab) -> str:
    return f"{len(lab.hosts)} host{'s' if len(lab.hosts) > 1 else ''}"


def _states(machine: Machine) -> str:
    return ", ".join(name if machine.running(name) else f"{name} (dead)" for name in machine.daemons)


def _exec(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    return _run(machine, _rest(arguments) or ["sh"])


def _docker(arguments: argparse.Namespace) -> int:
    command = _rest(arguments)
    machine = _machine(arguments)
    return _run(machine, machine.docker_command(command))


def _rest(arguments: argparse.Namespace) -> list[str]:
    rest: list[str] = arguments.rest
    return rest[1:] if rest[:1] == ["--"] else rest


def _kill(arguments: argparse.Namespace) -> int:
    _machine(arguments).kill(arguments.daemon)
    return 0


def _start(arguments: argparse.Namespace) -> int:
    _machine(arguments).start(arguments.daemon, _rest(arguments))
    return 0


def _reboot(arguments: argparse.Namespace) -> int:
    _machine(arguments).reboot()
    return 0


def _cut(arguments: argparse.Namespace) -> int:
    _machine(arguments).cut_off()
    return 0


def _repair(arguments: argparse.Namespace) -> int:
    _machine(arguments).repair()
    return 0


def _machine(arguments: argparse.Namespace) -> Machine:
    check_root()
    return Lab.find(arguments.name).machine(arguments.host)


def _run(machine: Machine, command: Sequence[str]) -> int:
    return subprocess.run(machine.enter(command), env=machine.environment(), check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ovn-docker-lab`; the exit status is 1 after an error and 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="ovn-docker-lab",
        description="Emulated hosts on this machine, each with its own Open vSwitch, Docker and driver.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_commands(parser)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except OvnDockerError as error:
        for note in getattr(error, "__notes__", ()):  # the end of the log of a daemon that failed
            print(note, file=sys.stderr)
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
