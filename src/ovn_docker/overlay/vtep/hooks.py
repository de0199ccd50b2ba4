"""Finds where OVN's pipeline can be entered and left on a switch, by containers that are there."""

import asyncio
import itertools
from collections.abc import Iterable

from ovn_docker.overlay.vtep import pipeline
from ovn_docker.overlay.vtep.ofctl import Switch
from ovn_docker.overlay.vtep.pipeline import Hooks, Location

MOST_SAMPLES = 3
"""Of how many containers the flows are looked at."""

NO_HOOK = (
    "IP lookup is off: no flow of the switch delivers to a container's port as OVN's local output does:"
    " see whether ovn-controller runs, and whether this release of OVN is supported"
)


NO_WAY_BACK = (
    "IP lookup: containers are reached by VTEPs and their answers are not, because this release of OVN leaves"
    " no place behind its ingress pipeline: it needs OVN 22.09.2, 22.12.1, 23.03.1 or a later one"
)


class HookFinder:
    """Looks at a switch, and knows what it found there before."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: Hooks | None = None

    async def find(self, switch: Switch, locations: Iterable[Location]) -> Hooks | None:
        """The hooks, or None where no flow delivers to any of these containers.

        Raises:
            HostError: the switch does not answer.
        """
        for where in itertools.islice(locations, MOST_SAMPLES):
            port = await switch.foreign(f"reg15={where.port:#x},metadata={where.datapath:#x}")
            local = pipeline.local_output(port, where)
            if local is not None and self._known and self._known.local_output == local:
                return self._known  # it was the tables that were emptied, and not OVN that was replaced
            if local is not None:
                found = await _around(switch, where, local)
                self._known = None if no_way_back(found) else found
                return found
        return None


async def _around(switch: Switch, where: Location, local: int) -> Hooks:
    onward = dict[int, int | None]()
    while tables := pipeline.unseen(local, onward):
        flows = await asyncio.gather(*(switch.foreign(f"table={each}") for each in tables))
        onward |= zip(tables, map(pipeline.passes_on, flows), strict=True)
    first = pipeline.first_output(local, onward)
    if first is None:
        return Hooks(local)
    nobody = await switch.foreign(f"reg15=0,metadata={where.datapath:#x}")
    return Hooks(local, *first, pipeline.unknown_drop(nobody, where.datapath, first[0]))


def no_way_back(hooks: Hooks) -> str:
    """Why a container's answers do not reach a VTEP, or ""."""
    return NO_WAY_BACK if hooks.output is None or hooks.unknown is None else ""
