"""What is read of OVN Southbound: which hosts take part in OVN. Pure; nothing is ever written there.

Each host's ovn-controller makes its row of table Chassis, named by its system-id, and removes it when it is
stopped for good (ovn-sb(5)). A host that dies leaves it.
"""

from collections.abc import Mapping

from ovn_docker.ovsdb.replica import Replica, Watch

CHASSIS = "Chassis"

WATCHES = {CHASSIS: Watch(("name", "hostname"))}


def read_chassis(replica: Replica) -> Mapping[str, str]:
    """The hosts that are in OVN: ``system-id`` to host name."""
    rows = replica.rows(CHASSIS).values()
    return {str(row.get("name", "")): str(row.get("hostname", "")) for row in rows}
