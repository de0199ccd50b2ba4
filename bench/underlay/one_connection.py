"""The underlay driver with one connection to Neutron in place of several, to be compared with."""

import sys

from ovn_docker.cli.main import underlay_driver
from ovn_docker.underlay.neutron import neutron_client

if __name__ == "__main__":
    neutron_client.THREADS = 1
    sys.exit(underlay_driver())
