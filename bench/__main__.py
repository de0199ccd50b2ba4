"""`python -m bench` is `scripts/bench` without its installation of packages."""

import sys

from bench.cli import main

sys.exit(main())
