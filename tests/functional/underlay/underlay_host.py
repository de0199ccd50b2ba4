"""A virtual machine's driver as it is assembled, on a small Neutron and a real database of Open vSwitch."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.daemon import components
from ovn_docker.daemon.components import Components, VirtualMachine, running
from ovn_docker.host import open_vswitch
from ovn_docker.libnetwork import messages
from ovn_docker.settings import Program
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.credentials import from_environment
from tests.flags import settings_of
from tests.functional.private_network import ip
from tests.functional.servers import OvsdbServer
from tests.functional.underlay.openstack import SmallOpenStack
from tests.functional.underlay.small_neutron import Row, SmallNeutron

NET, ENDPOINT, OTHER = "b5082ded" * 8, "a0b1c2d3" * 8, "e0e1e2e3" * 8
MAC = "fa:16:3e:ff:00:01"
BRIDGE = "breth0"


@dataclass
class Vm:
    """A machine: its driver, and all that it works on."""

    parts: Components
    openstack: SmallOpenStack
    neutron: SmallNeutron
    open_vswitch: OvsdbServer
    vif: Row

    def ports(self) -> list[Row]:
        """The ports that carry this machine's mark."""
        return [each for each in self.neutron.ports if each["description"] == resources.mark(self.vif["id"])]

    def attached(self) -> list[str]:
        """The endpoints that are plugged in, as the driver sees them."""
        return [each.endpoint_id for each in open_vswitch.all_attached(self.parts.ovs.replica)]

    def plug(self, endpoint_id: str, address: str, network_id: str = NET) -> None:
        """An interface in Open vSwitch as a Join leaves it, but without its link."""
        ids = {
            open_vswitch.IFACE_ID: endpoint_id,
            open_vswitch.NETWORK: network_id,
            open_vswitch.ADDRESSES: address,
        }
        self.open_vswitch.transact(*open_vswitch.add_port(BRIDGE, endpoint_id, endpoint_id[:15], ids))


@contextlib.asynccontextmanager
async def machine(
    open_vswitch: OvsdbServer,
    directory: Path,
    *flags: str,
    mac: str = MAC,
    login: int = 201,
) -> AsyncIterator[Vm]:
    """A machine whose interface has a MAC address, in a network namespace of its own.

    Args:
        open_vswitch: its database.
        directory: where the driver keeps its state.
        flags: of the driver.
        mac: of its interface; the Neutron port that OS_VIF_ID names has `MAC`.
        login: the status of Keystone's answers.
    """
    ip("link", "add", "ens3", "address", mac, "type", "veth", "peer", "name", "tap")
    _furnish(open_vswitch)
    neutron = SmallNeutron()
    async with SmallOpenStack().serve() as openstack:
        openstack.neutron, openstack.keystone_status = neutron, login
        network = neutron.make("networks", {"name": "management"})
        vif = neutron.make("ports", {"network_id": network["id"], "mac_address": MAC})
        environment = {
            "OS_AUTH_URL": f"{openstack.url}/v3",
            "OS_PROJECT_NAME": "p",
            "OS_USERNAME": "u",
            "OS_PASSWORD": "hush",
        }
        credentials = from_environment(environment)
        words = [f"--ovsdb=unix:{open_vswitch.socket}", f"--state-file={directory / 'state.json'}", *flags]
        settings = settings_of(*words, program=Program.UNDERLAY)
        machine = VirtualMachine(credentials, vif["id"], settings.bridge, settings.child_ports)
        parts = components.assemble_underlay(machine, settings, dict)
        async with running(parts):
            await parts.ovs.ready()
            yield Vm(parts, openstack, neutron, open_vswitch, vif)


def _furnish(open_vswitch: OvsdbServer) -> None:
    open_vswitch.transact(
        {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": BRIDGE}},
        {"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "b"]}},
    )


def network(network_id: str = NET, pool: str = "10.0.0.0/24") -> messages.CreateNetworkRequest:
    gateway = pool.replace("0/24", "1/24")
    return messages.CreateNetworkRequest(
        network_id=network_id, options={}, ipv4_data=[messages.IPAMData(pool=pool, gateway=gateway)]
    )


def endpoint(
    endpoint_id: str = ENDPOINT, address: str = "10.0.0.5/24", network_id: str = NET, mac: str = ""
) -> messages.CreateEndpointRequest:
    interface = messages.EndpointInterface(address=address, mac_address=mac)
    return messages.CreateEndpointRequest(network_id=network_id, endpoint_id=endpoint_id, interface=interface)


def of(endpoint_id: str = ENDPOINT, network_id: str = NET) -> messages.EndpointRequest:
    return messages.EndpointRequest(network_id=network_id, endpoint_id=endpoint_id)
