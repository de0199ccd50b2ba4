"""``python -m ovn_docker`` is ``ovn-docker``."""

import sys

from ovn_docker.cli import main

sys.exit(main())
