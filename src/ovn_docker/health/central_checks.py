"""What is wrong with the servers that all hosts share; only their administrator can repair it. Pure."""

from collections.abc import Iterator

from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import Snapshot

SLOW = 1.0
"""Seconds for a question of one row, which takes milliseconds."""

LATE = 5.0
"""Seconds for which ovn-northd may be behind: a start of a container waits for it for no more than 8.5 s."""


def check_central(snapshot: Snapshot) -> Iterator[Finding]:
    """Northbound answers soon and is not a relay, and ovn-northd keeps up with it."""
    central = snapshot.central
    if central is None:
        return
    if central.seconds > SLOW:
        cause = f"{central.seconds:.1f} s for a question of one row"
        yield Finding("central-slow", "OVN Northbound", "OVN Northbound answers slowly", cause=cause)
    if central.behind is not None and central.behind > LATE:
        text = "ovn-northd is behind OVN Northbound, so starts of containers fail"
        yield Finding("northd-behind", "ovn-northd", text, cause=f"by {central.behind:.0f} s")
    if central.relay:
        text = (
            "ovn-nb of Open_vSwitch leads to a relay, which keeps locks to itself: other hosts do not see"
            " that this one is there; name the servers behind it"
        )
        yield Finding("central-relay", "OVN Northbound", text)
