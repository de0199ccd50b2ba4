"""The underlay driver with one connection to Neutron in place of several, to be compared with."""

import sys

from ovn_docker.cli import underlay_driver
from ovn_docker.neutron import client

if __name__ == "__main__":
    client.THREADS = 1
    sys.exit(underlay_driver())
