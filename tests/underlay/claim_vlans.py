"""Two drivers' parts claim VLANs for ports at the same time: ``claim_vlans.py VIF PORT...``.

Run in a machine, with the login in the environment. All ports that are named claim the same VLAN already.
What each has in the end is printed as JSON.
"""

import asyncio
import json
import os
import sys

from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.credentials import from_environment
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.vlans import ProfilePorts


async def main(vif: str, names: list[str]) -> None:
    neutrons = [Neutron(from_environment(os.environ)) for _ in range(2)]
    drivers = [ProfilePorts(neutron, vif) for neutron in neutrons]
    ports = [resources.read_port((await neutrons[0].get(f"ports/{name}"))["port"]) for name in names]
    vlans = await asyncio.gather(
        *(drivers[number % 2].add(port) for number, port in enumerate(ports)),
    )
    sys.stdout.write(json.dumps(dict(zip(names, vlans, strict=True))))
    for neutron in neutrons:
        await neutron.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
