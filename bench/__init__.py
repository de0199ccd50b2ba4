"""Measure this project's driver beside the incumbent and Docker's own bridge; `scripts/bench` runs it.

No part of the installed package. It stands on `ovn_docker_lab`, so nothing runs on the machine itself.
"""
