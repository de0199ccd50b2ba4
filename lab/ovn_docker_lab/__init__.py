"""Emulated hosts on one machine, to try and to test OVN with Docker on several hosts.

A lab is a central (Northbound, Southbound, northd) and N hosts in network, mount and UTS namespaces, each
with its own Open vSwitch, ovn-controller, dockerd and driver. Its state is one directory on disk, so any
later process can use it or take it down.
"""

from ovn_docker_lab.lab import Lab, down
from ovn_docker_lab.machine import Machine

__all__ = ["Lab", "Machine", "down"]
