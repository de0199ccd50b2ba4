"""Which parts the underlay driver has, and what each is handed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ovn_docker.daemon.components import Parts, open_vswitch_client
from ovn_docker.docker.engine import Engine
from ovn_docker.health.reader import Driver, Reader
from ovn_docker.health.repairs import Repair, Repairs, starting
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.veth import Links
from ovn_docker.settings import TRUNK, Config
from ovn_docker.underlay.child_ports import ChildPorts
from ovn_docker.underlay.neutron.credentials import Credentials
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron_ipam import UnderlayIpam
from ovn_docker.underlay.neutron_networks import UnderlayNetworks
from ovn_docker.underlay.neutron_ports import EndpointPorts
from ovn_docker.underlay.neutron_undo import Undoing
from ovn_docker.underlay.places import Places
from ovn_docker.underlay.probe import Probe
from ovn_docker.underlay.profile import ProfilePorts
from ovn_docker.underlay.underlay_driver import ADDRESS_SPACE, Cloud, UnderlayDriver
from ovn_docker.underlay.underlay_inventory import UnderlayInventory
from ovn_docker.underlay.vif_identity import Identity
from ovn_docker.underlay.vlans import TrunkPorts


@dataclass(frozen=True, slots=True)
class Machine:
    """This virtual machine's part in a cloud.

    Attributes:
        credentials: of its project.
        vif: the id of the Neutron port of its interface.
        bridge: that the interface is on.
        child_ports: ``trunk`` or ``profile``, how endpoints' ports are under it.
    """

    credentials: Credentials
    vif: str
    bridge: str
    child_ports: str = TRUNK


def assemble(machine: Machine, config: Config, about: Callable[[], Mapping[str, Any]]) -> Parts:
    """Make the parts.

    Args:
        machine: which port of which cloud.
        config: of the driver.
        about: what NetworkDriver.Database is to show besides networks.

    Raises:
        ConfigError: a setting cannot be used.
    """
    ovs = open_vswitch_client(config)
    links = Links()
    attachments = Attachments(ovs, links, machine.bridge)
    cloud = _cloud(machine, config, attachments)
    driver = UnderlayDriver(cloud, attachments, config.scope, _now, about)
    engine = Engine(config.health.docker_socket, config.health.docker_api_version)
    inventory = UnderlayInventory(cloud, attachments, trunked=machine.child_ports == TRUNK)
    return Parts(
        ovs=ovs,
        peer=cloud.neutron,
        links=links,
        driver=driver,
        ipam=UnderlayIpam(cloud),
        engine=engine,
        inventory=inventory,
        reader=Reader(engine, inventory, attachments, Driver(config.driver_name, config.scope)),
        repairs=Repairs(
            driver, inventory, attachments, ADDRESS_SPACE, _repairs(cloud, inventory) | starting(engine)
        ),
        about=lambda: {"auth_url": machine.credentials.where, "child_ports": machine.child_ports},
        work={"the connection to Neutron": cloud.neutron.run},
        daemon_work={"the look at OS_VIF_ID": cloud.identity.run},
        close=(cloud.undoing.stop, cloud.neutron.close),
        probe=Probe(cloud, machine.bridge).look,
    )


def _repairs(cloud: Cloud, inventory: UnderlayInventory) -> dict[str, Repair]:
    """Those that differ from the overlay's."""
    return {
        "interface-missing": inventory.plug,
        "interface-vlan": inventory.readdress,
        "trunk-missing": lambda _: cloud.children.prepare(),
    }


def _cloud(machine: Machine, config: Config, attachments: Attachments) -> Cloud:
    neutron, host = Neutron(machine.credentials), machine.vif
    undoing = Undoing(answers=neutron.answers)
    children: ChildPorts = (TrunkPorts if machine.child_ports == TRUNK else ProfilePorts)(neutron, host)
    networks = UnderlayNetworks(neutron, host, Places(config.state_file), undoing)
    return Cloud(
        neutron=neutron,
        host=host,
        networks=networks,
        ports=EndpointPorts(neutron, host, children),
        children=children,
        undoing=undoing,
        identity=Identity(neutron, host, attachments),
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
