"""`python -m bench` is `scripts/bench` without its installation of packages."""

import sys

from bench import cli, health, ip_lookup
from bench.ipam import cli as ipam
from bench.scale import cli as scale
from bench.underlay import cli as underlay
from bench.vm import cli as vm

words = sys.argv[1:]
others = {
    "ipam": ipam.main,
    "health": health.main,
    "ip-lookup": ip_lookup.main,
    "scale": scale.main,
    "underlay": underlay.main,
    "vm": vm.main,
}
sys.exit(others[words[0]](words[1:]) if words[:1] and words[0] in others else cli.main(words))
