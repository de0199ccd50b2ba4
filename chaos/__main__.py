"""`python -m chaos` is `scripts/chaos` without its installation of packages."""

import sys

from chaos.cli import main

sys.exit(main())
