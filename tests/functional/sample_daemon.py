"""A daemon for test_process.py: ``sample_daemon.py DIRECTORY BEHAVIOUR OPTIONS``, the options in JSON.

It notes its process ids in DIRECTORY/pids, and what it did in DIRECTORY/events.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from ovn_docker.daemon.process import daemonize
from ovn_docker.errors import ConfigError
from ovn_docker.settings import DaemonOptions


def note(directory: Path, text: str, file: str = "events") -> None:
    with (directory / file).open("a") as out:
        out.write(f"{text}\n")


def stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(directory: Path, behaviour: str, options: DaemonOptions) -> None:
    logging.basicConfig(filename=directory / "log")
    try:
        ready = daemonize(options)
    except ConfigError as error:
        sys.exit(str(error))
    note(directory, str(os.getpid()), "pids")
    if behaviour == "fail":
        sys.stderr.write("the port is in use\n")
        sys.exit(3)
    if behaviour == "abort":
        os.abort()
    signal.signal(signal.SIGTERM, stop)
    try:
        ready()
        note(directory, f"ready in {Path.cwd()}")
        while True:
            signal.pause()
    finally:
        ready.stopping()
        note(directory, "stopped")


if __name__ == "__main__":
    arguments = json.loads(sys.argv[3])
    if "pidfile" in arguments:
        arguments["pidfile"] = Path(arguments["pidfile"])
    main(Path(sys.argv[1]), sys.argv[2], DaemonOptions(**arguments))
