"""The overlay driver as Docker's managed plugin: ``python -m ovn_docker.managed_plugin`` is its process."""

import os
import sys

from ovn_docker import capabilities, cli, plugin_settings

KEPT = (capabilities.NET_ADMIN, capabilities.DAC_OVERRIDE, capabilities.NET_BIND_SERVICE)
"""For links; for sockets and keys of a user of Open vSwitch's own; for a `BIND_PORT` below 1024.

Docker gives a plugin what every container has, and what its config.json asks for besides.
"""


def main() -> int:
    """Serve Docker until stopped; the exit status."""
    return cli.reported("ovn-docker", _serve)


def _serve() -> int:
    capabilities.keep_only(KEPT)
    return cli.overlay_driver(plugin_settings.arguments(os.environ), for_dockerd=True)


if __name__ == "__main__":
    sys.exit(main())
