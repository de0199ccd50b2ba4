"""Looks whether packets of a VLAN pass between this machine's bridge and the cloud, in both directions.

A network is made for it, with a port under the machine's. A DHCP request is sent through the bridge
with the port's VLAN and MAC address, and Neutron's answer is waited for. All of it is removed afterwards.
"""

import random
from collections.abc import Sequence
from typing import Any

from ovn_docker.health.findings import Finding
from ovn_docker.underlay import dhcp, frames
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.underlay_driver import Cloud

NAME = "ovn-docker-probe"
"""Of what is made."""

SUBNET = "192.0.2.0/24"
"""For documentation (RFC 5737): nothing is on it."""

PATIENCE = 15.0
"""Seconds for the first answer: Neutron lets packets pass a moment after it has answered."""

NEXT_PATIENCE = 3.0
"""Seconds for a further one."""


class Probe:
    """A look at the VLANs of this machine."""

    def __init__(self, cloud: Cloud, bridge: str) -> None:
        """Look from this bridge."""
        self._cloud = cloud
        self._bridge = bridge
        self._mark = resources.probe_mark(cloud.host)

    async def look(self) -> list[Finding]:
        """What does not pass.

        Raises:
            NeutronError, UnreachableError: Neutron refused what is needed for it.
            HostError: no frame can be sent.
        """
        await self._clear()
        try:
            port, mtu = await self._make()
            vlan = await self._cloud.children.add(port)
            return await self._ask(port.mac, vlan, mtu)
        finally:
            await self._clear()

    async def _make(self) -> tuple[resources.Port, int]:
        neutron, description = self._cloud.neutron, self._mark
        body: dict[str, Any] = {"network": {"name": NAME, "description": description}}
        network = resources.read_network((await neutron.post("networks", body))["network"])
        subnet = {"network_id": network.id, "name": NAME, "description": description, "cidr": SUBNET}
        more = {"ip_version": 4, "enable_dhcp": True}  # with a gateway: OVN answers in its name
        await neutron.post("subnets", {"subnet": {**subnet, **more}})
        port = {"network_id": network.id, "name": NAME, "description": description}
        return resources.read_port((await neutron.post("ports", {"port": port}))["port"]), network.mtu

    async def _ask(self, mac: str, vlan: int, mtu: int) -> list[Finding]:
        if not await self._answered(mac, vlan, 0, PATIENCE):
            text = (
                f"nothing passes VLAN {vlan} between bridge {self._bridge} and the cloud and back: see"
                " whether the bridge and the cloud leave the tags of 802.1Q alone"
            )
            return [Finding("vlan-blocked", self._bridge, text)]
        if mtu and not await self._answered(mac, vlan, mtu, NEXT_PATIENCE):
            text = (
                f"packets of {mtu} bytes, the MTU of networks, do not pass VLAN {vlan} of bridge"
                f" {self._bridge}: see the MTU of the interface on it"
            )
            return [Finding("mtu-blocked", self._bridge, text)]
        return []

    async def _answered(self, mac: str, vlan: int, size: int, seconds: float) -> bool:
        xid = random.getrandbits(32)  # no secret: it tells an answer from another's
        frame = dhcp.discover(mac, vlan, xid, size)
        return await frames.ask(self._bridge, frame, lambda each: dhcp.answers(each, xid), seconds)

    async def _clear(self) -> None:
        """Remove what is there of this look or of one that was killed."""
        neutron = self._cloud.neutron
        for each in await self._made("ports"):
            await self._cloud.children.let_go(each["id"])
            await neutron.delete(f"ports/{each['id']}")
        for each in await self._made("networks"):
            await neutron.delete(f"networks/{each['id']}")

    async def _made(self, kind: str) -> Sequence[dict[str, Any]]:
        found = await self._cloud.neutron.get(kind, {"description": self._mark})
        return list(found[kind])
