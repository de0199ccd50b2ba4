"""Loads pyroute2, the library for netlink: the only place that does."""

import importlib
import logging
from typing import Any

TRAFFIC_CONTROL = "pyroute2.netlink.rtnl.tcmsg.common"
"""The logger that warns, while pyroute2 is loaded, where /proc/net/psched cannot be read.

That file is traffic control's, which is not used here, and the systemd unit hides it (ProcSubset=pid).
"""


def load_pyroute2() -> Any:  # noqa: ANN401  (it has no type hints)
    """Load pyroute2; the first time costs 0.15 s."""
    log = logging.getLogger(TRAFFIC_CONTROL)
    log.addFilter(_no_record)
    try:
        return importlib.import_module("pyroute2")
    finally:
        log.removeFilter(_no_record)


def _no_record(record: logging.LogRecord) -> bool:  # noqa: ARG001
    return False
