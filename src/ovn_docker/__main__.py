"""``python -m ovn_docker`` is ``ovn-docker``."""

import sys

from ovn_docker.cli.main import main

sys.exit(main())
