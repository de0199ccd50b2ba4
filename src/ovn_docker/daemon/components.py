"""Which parts a driver has, and what each is handed: for the daemon and for the commands alike."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from ovn_docker.daemon.supervision import Supervision, Work
from ovn_docker.docker.engine import Engine
from ovn_docker.health.host_liveness import Collector
from ovn_docker.health.presence import Presence, ThisMachine
from ovn_docker.health.reader import CentralLook, DriverReading, HostReader, Reader
from ovn_docker.health.repairs import Repair, Repairs, endpoint_request, starting
from ovn_docker.health.snapshot import Inventory
from ovn_docker.host import ovn_settings
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.veth import Links
from ovn_docker.libnetwork.api import IpamDriver, NetworkDriver
from ovn_docker.overlay.ipam.allocator import AddressLeases
from ovn_docker.overlay.ipam.foreign_addresses import ForeignAddresses
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE, ADDRESS_SPACES, OverlayIpam, choose_at_random
from ovn_docker.overlay.network_spec import SharingPolicy
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.overlay.overlay_driver import OverlayDriver
from ovn_docker.overlay.overlay_inventory import OverlayInventory, Scan, some_time
from ovn_docker.overlay.vtep.ip_lookup import IpLookup
from ovn_docker.ovn import vteps
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import TlsFiles
from ovn_docker.settings import TRUNK, Settings
from ovn_docker.state_file import StateFile
from ovn_docker.underlay.neutron.credentials import Credentials
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron_ipam import UnderlayIpam
from ovn_docker.underlay.neutron_networks import NeutronNetworkRefs, UnderlayNetworks
from ovn_docker.underlay.neutron_ports import EndpointPorts
from ovn_docker.underlay.neutron_undo import NeutronUndo
from ovn_docker.underlay.underlay_driver import NEUTRON_SPACE, Cloud, UnderlayDriver, VifIdentity
from ovn_docker.underlay.underlay_inventory import UnderlayInventory
from ovn_docker.underlay.vlans import ChildPorts, ProfilePorts, TrunkPorts

LOG = logging.getLogger(__name__)

STOP_TIMEOUT = 5.0
"""Seconds for work in the background to end when it is told to."""


About = Callable[[], Mapping[str, Any]]
"""What NetworkDriver.Database is to show besides networks."""


class Backend(Protocol):
    """What a driver keeps networks in: OVN Northbound, or Neutron."""

    database: str

    def answers(self) -> bool:
        """Whether it can be used just now."""

    def outage(self) -> str:
        """Why it cannot be used, or ""."""

    def when_connected(self, call: Callable[[], object]) -> None:
        """Call this each time that it can be used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The parts of a driver, none of them running.

    Attributes:
        ovs: this host's Open_vSwitch database.
        peer: where networks are.
        links: of this host.
        driver: for Docker.
        ipam: likewise.
        engine: Docker, for the health check.
        inventory: likewise.
        reader: likewise.
        repairs: likewise.
        about: what NetworkDriver.Database is to show of this driver besides.
        work: what keeps the peer connected, by its name for people.
        daemon_work: what only a daemon does besides, by its name too.
        close: what ends it.
        host: looks at what OVN needs of this host, where the peer is OVN.
        presence: proves that this host's name in OVN is its own, where the peer is OVN.
        scan: has the inventory go through all tables, where it would not each time.
    """

    ovs: Client
    peer: Backend
    links: Links
    driver: NetworkDriver
    ipam: IpamDriver
    engine: Engine
    inventory: Inventory
    reader: Reader
    repairs: Repairs
    about: About
    work: Mapping[str, Work]
    daemon_work: Mapping[str, Work] = field(default_factory=dict)
    close: tuple[Callable[[], Awaitable[None]], ...] = ()
    presence: Presence | None = None
    host: HostReader | None = None
    scan: Scan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayComponents(Components):
    """Those of the overlay driver, with what its commands use besides."""

    northbound: Client
    shared: SharedNetworks
    ip_lookup: IpLookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a driver uses of the host that it runs on, none of it opened.

    Attributes:
        ovs: its Open_vSwitch database.
        links: of its network namespace.
        engine: its Docker.
    """

    ovs: Client
    links: Links
    engine: Engine


def this_host(config: Settings) -> Host:
    """The host that this process runs on.

    Raises:
        ConfigError: a setting cannot be used.
    """
    engine = Engine(config.health.docker_socket, config.health.docker_api_version)
    return Host(ovs=_open_vswitch_client(config), links=Links(), engine=engine)


def assemble(config: Settings, about: About, host: Host | None = None) -> OverlayComponents:
    """Make the parts.

    Args:
        config: of the driver.
        about: what NetworkDriver.Database is to show besides networks.
        host: to run on; None for this one.

    Raises:
        ConfigError: a setting cannot be used.
    """
    host = host or this_host(config)
    ovs, links, engine = host.ovs, host.links, host.engine
    nb = ovn_settings.ovn_client(ovs, ovn_settings.NORTHBOUND, vteps.WATCHES)
    attachments = Attachments(ovs, links)
    file = StateFile(config.state_file)
    presence = Presence(ovs, nb, ThisMachine(file, socket.gethostname(), links.holding), _now)
    database = Northbound(nb, attachments, _now, presence)
    shared = SharedNetworks(database, file)
    occupied = ForeignAddresses(database, shared.switches_of)
    ip_lookup = IpLookup(ovs, shared, config.driver_name, wanted=config.ip_lookup)
    leases = AddressLeases(database, occupied, choose_at_random, shared.lease_from)
    ipam = OverlayIpam(database, leases, config.default_pools, config.context, time.monotonic)
    policy = SharingPolicy(config.distributed, config.context, ADDRESS_SPACES)
    driver = OverlayDriver(attachments, shared, occupied, ipam, ip_lookup, policy, config.scope, about)
    inventory = OverlayInventory(database, shared, ipam, config.context, some_time)
    look = HostReader(attachments, links)
    named = DriverReading(config.driver_name, config.scope, presence, look, CentralLook(nb))
    return OverlayComponents(
        ovs=ovs,
        peer=nb,
        links=links,
        driver=driver,
        ipam=ipam,
        engine=engine,
        inventory=inventory,
        reader=Reader(engine, inventory, attachments, named, ip_lookup.inspect),
        repairs=Repairs(driver, inventory, attachments, ADDRESS_SPACE, _repairs(driver, ip_lookup, engine)),
        about=lambda: {"lookup": ip_lookup.about(), **_database_files(nb)},
        work=_northbound_work(ovs, nb),
        daemon_work=_collecting(config, ovs, nb)
        | _host_work(presence, look, ip_lookup)
        | {"plugging in before Join": driver.plugging.run},
        presence=presence,
        host=look,
        scan=inventory.scan,
        northbound=nb,
        shared=shared,
        ip_lookup=ip_lookup,
    )


def _repairs(driver: OverlayDriver, ip_lookup: IpLookup, engine: Engine) -> dict[str, Repair]:
    """Those that are this driver's own; a port is made again without plugging in, for no Join follows."""
    return {
        "endpoint-missing": lambda endpoint: driver.make_port(endpoint_request(endpoint)),
        "lookup-missing": ip_lookup.repair,
        "lookup-surplus": ip_lookup.repair,
        **starting(engine),
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _northbound_work(ovs: Client, nb: Client) -> dict[str, Work]:
    """Keep Northbound connected, wherever Open_vSwitch says that it is."""
    return {
        "the connection to OVN Northbound": nb.run,
        "the watch on ovn-nb": partial(ovn_settings.follow_settings, ovs, nb, ovn_settings.NORTHBOUND),
    }


def _host_work(presence: Presence, host: HostReader, ip_lookup: IpLookup) -> dict[str, Work]:
    """Show other hosts that this one is there, and look after it."""
    return {
        "this host's presence": presence.run,
        "the look at this host": host.run,
        "IP lookup": ip_lookup.run,
    }


def _collecting(config: Settings, ovs: Client, nb: Client) -> dict[str, Work]:
    """With ``--dead-host-after``, look for hosts that are not there."""
    if not config.dead_host_after:
        return {}
    collector = Collector(ovs, nb, config.dead_host_after, time.monotonic)
    return {"the search for dead hosts": collector.run}


def _database_files(northbound: Client) -> dict[str, Any]:
    """The TLS files that are used for OVN Northbound, under the guide's keys: their paths only."""
    tls = northbound.tls
    if tls is None or all(remote.method != "ssl" for remote in northbound.remotes):
        return {}
    return {
        "tls_ca_cert": tls.ca_cert,
        "tls_key_cert": tls.certificate,
        "tls_private_key": tls.private_key,
    }


def _open_vswitch_client(config: Settings) -> Client:
    tls = TlsFiles(*map(str, config.database_tls)) if config.database_tls else None
    return ovn_settings.open_vswitch_client(config.ovsdb, tls, config.probe_interval)


@contextlib.asynccontextmanager
async def running(parts: Components, supervision: Supervision | None = None) -> AsyncIterator[None]:
    """Keep the databases connected as long as the context lasts."""
    supervision = supervision or Supervision()
    tasks = start(supervision, {"the connection to Open vSwitch": parts.ovs.run, **parts.work})
    try:
        yield
    finally:
        await cancel(*tasks)
        for close in parts.close:
            await close()
        await parts.engine.close()
        parts.links.close()


def start(supervision: Supervision, work: Mapping[str, Work]) -> list[asyncio.Task[None]]:
    """Begin work in the background; it ends only when it is cancelled."""
    return [asyncio.create_task(supervision.supervise(name, each), name=name) for name, each in work.items()]


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended; what does not end is left, so that the rest is undone."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    _, left = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
    for task in left:
        LOG.error("%s has not ended %.0f s after it was told to: it is left", task.get_name(), STOP_TIMEOUT)


# --- Which parts the underlay driver has, and what each is handed. ------------------------------------------


@dataclass(frozen=True, slots=True)
class VirtualMachine:
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


def assemble_underlay(
    machine: VirtualMachine, config: Settings, about: Callable[[], Mapping[str, Any]]
) -> Components:
    """Make the parts.

    Args:
        machine: which port of which cloud.
        config: of the driver.
        about: what NetworkDriver.Database is to show besides networks.

    Raises:
        ConfigError: a setting cannot be used.
    """
    ovs = _open_vswitch_client(config)
    links = Links()
    attachments = Attachments(ovs, links, machine.bridge)
    cloud = _cloud(machine, config, attachments)
    driver = UnderlayDriver(cloud, attachments, config.scope, _timestamp, about)
    engine = Engine(config.health.docker_socket, config.health.docker_api_version)
    inventory = UnderlayInventory(cloud, attachments, trunked=machine.child_ports == TRUNK)
    return Components(
        ovs=ovs,
        peer=cloud.neutron,
        links=links,
        driver=driver,
        ipam=UnderlayIpam(cloud),
        engine=engine,
        inventory=inventory,
        reader=Reader(engine, inventory, attachments, DriverReading(config.driver_name, config.scope)),
        repairs=Repairs(
            driver,
            inventory,
            attachments,
            NEUTRON_SPACE,
            _underlay_repairs(cloud, inventory) | starting(engine),
        ),
        about=lambda: {"auth_url": machine.credentials.where, "child_ports": machine.child_ports},
        work={"the connection to Neutron": cloud.neutron.run},
        daemon_work={"the look at OS_VIF_ID": cloud.identity.run},
        close=(cloud.undoing.stop, cloud.neutron.close),
    )


def _underlay_repairs(cloud: Cloud, inventory: UnderlayInventory) -> dict[str, Repair]:
    """Those that differ from the overlay's."""
    return {
        "interface-missing": inventory.plug,
        "interface-vlan": inventory.readdress,
        "trunk-missing": lambda _: cloud.children.prepare(),
    }


def _cloud(machine: VirtualMachine, config: Settings, attachments: Attachments) -> Cloud:
    neutron, host = Neutron(machine.credentials), machine.vif
    undoing = NeutronUndo(answers=neutron.answers)
    children: ChildPorts = (TrunkPorts if machine.child_ports == TRUNK else ProfilePorts)(neutron, host)
    networks = UnderlayNetworks(neutron, host, NeutronNetworkRefs(config.state_file), undoing)
    return Cloud(
        neutron=neutron,
        host=host,
        networks=networks,
        ports=EndpointPorts(neutron, host, children),
        children=children,
        undoing=undoing,
        identity=VifIdentity(neutron, host, attachments),
    )


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
