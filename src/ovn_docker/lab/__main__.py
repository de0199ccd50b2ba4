"""`python -m ovn_docker.lab` is `ovn-docker lab`."""

import sys

from ovn_docker.lab.cli import main

sys.exit(main())
