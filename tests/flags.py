"""A program's settings by its command line, without the program."""

import argparse
from pathlib import Path

from ovn_docker import settings
from ovn_docker.ovsdb.remotes import Remote
from ovn_docker.settings import Program, Settings

NO_DOCKER = "unix:///nowhere/docker.sock"


def settings_of(*words: str, program: Program = Program.OVERLAY) -> Settings:
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser, program)
    return settings.read(parser.parse_args(words), program)


def driver_settings(ovsdb: Remote | str, state_file: Path, *flags: str, docker: str = NO_DOCKER) -> Settings:
    """What a command reads of the overlay driver's flags."""
    words = [f"--ovsdb={ovsdb}", f"--state-file={state_file}", f"--docker-socket={docker}", *flags]
    return settings_of(*words, program=Program.CHECK)
