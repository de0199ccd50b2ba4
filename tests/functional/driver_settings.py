"""The settings of a driver that a test makes the components of."""

import argparse
from pathlib import Path

from ovn_docker import settings
from ovn_docker.ovsdb.remotes import Remote
from ovn_docker.settings import Settings

NO_DOCKER = "unix:///nowhere/docker.sock"


def driver_settings(ovsdb: Remote | str, state_file: Path, *flags: str, docker: str = NO_DOCKER) -> Settings:
    """What the overlay driver reads of these flags."""
    parser = argparse.ArgumentParser()
    settings.add_inspection_arguments(parser)
    words = [f"--ovsdb={ovsdb}", f"--state-file={state_file}", f"--docker-socket={docker}", *flags]
    return settings.read_inspection(parser.parse_args(words))
