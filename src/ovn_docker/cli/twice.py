"""Finds that the switch of one of this host's networks is there twice: hosts may be on different ones."""

from ovn_docker.health.findings import Finding
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.ovn import switches


async def findings(shared: SharedNetworks) -> list[Finding]:
    """Each subnet and context of this host's networks that is on two switches (a scan of switches for each).

    Raises:
        OvnDockerError: Northbound cannot be read.
    """
    wanted = {(each.pools[0], each.context): each for each in shared.all() if each.context}
    questions = [switches.ls_meant_for(subnet, context) for subnet, context in wanted]
    results = await shared.database.transact(questions) if questions else []
    found = []
    for ((subnet, context), network), result in zip(wanted.items(), results, strict=True):
        others = sorted({str(row["name"]) for row in result["rows"]} - {network.switch})
        if others:
            text = (
                f"subnet {subnet} in context {context} is on logical switch {network.switch} here and on"
                f" {', '.join(others)} too, so containers do not reach each other on both: keep one, remove"
                " the networks that are on the other, and then that with 'ovn-nbctl ls-del'"
            )
            found.append(Finding("switch-twice", f"{subnet} {context}", text))
    return found
