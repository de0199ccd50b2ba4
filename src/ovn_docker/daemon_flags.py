"""The flags of every daemon of Open vSwitch: how it detaches, and what it logs where. Pure."""

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser, program: str) -> None:
    """The flags of ovs-vswitchd(8), "Daemon Options" and "Logging Options"."""
    run = default_run_directory()
    daemon = parser.add_argument_group("daemon")
    daemon.add_argument("--detach", action="store_true", help="run in the background, once it answers")
    daemon.add_argument(
        "--pidfile",
        metavar="FILE",
        nargs="?",
        const=str(run / f"{program}.pid"),
        help="write the process id to this file (without FILE: %(const)s)",
    )
    daemon.add_argument(
        "--overwrite-pidfile", action="store_true", help="start even if the pidfile's process runs"
    )
    daemon.add_argument("--no-chdir", action="store_true", help="stay in this directory with --detach")
    daemon.add_argument("--monitor", action="store_true", help="start the driver again when it fails")
    log = parser.add_argument_group("logging")
    log.add_argument(
        "--log-file",
        metavar="FILE",
        nargs="?",
        const=f"/var/log/openvswitch/{program}.log",
        help="log to this file (without FILE: %(const)s)",
    )
    log.add_argument(
        "-v",
        "--verbose",
        metavar="SPEC",
        nargs="?",
        const="",
        action="append",
        default=[],
        help="set log levels, as MODULE:PLACE:LEVEL in any part (without SPEC: everything)",
    )


def default_run_directory() -> Path:
    """Where Open vSwitch's sockets and pidfiles are: ``OVS_RUNDIR`` or as packaged."""
    return Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))
