"""`python -m ovn_docker_lab` is `ovn-docker-lab`."""

import sys

from ovn_docker_lab.cli import main

sys.exit(main())
