"""`python -m bench` is `scripts/bench` without its installation of packages."""

import sys

from bench import cli
from bench.ipam import cli as ipam

words = sys.argv[1:]
sys.exit(ipam.main(words[1:]) if words[:1] == ["ipam"] else cli.main(words))
