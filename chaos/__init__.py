"""Random faults in a lab that is in use, and then a check of what is left; `scripts/chaos` runs it.

No part of the installed package. It stands on `ovn_docker_lab`, so nothing runs on the machine itself. Of
the driver it knows what docs/reference/names-and-marks.md says, and imports nothing of it: an oracle that
shared its code would share its mistakes.
"""
