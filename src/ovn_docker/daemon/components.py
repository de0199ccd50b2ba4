"""The composition root: which components a driver has, and what each is handed.

The daemon, the commands, the tests and the benchmarks build a driver here and nowhere else.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ovn_docker.daemon.supervision import Supervision, Work
from ovn_docker.docker.engine import Engine
from ovn_docker.health.host_liveness import Collector
from ovn_docker.health.presence import Presence, ThisMachine
from ovn_docker.health.reader import DriverReading, HostReader, Reader, look_at_central
from ovn_docker.health.repairs import Repair, Repairs, endpoint_request, starting
from ovn_docker.health.snapshot import Inventory
from ovn_docker.host import ovn_settings
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.firewall import Firewall
from ovn_docker.host.gateway_links import GatewayLinks
from ovn_docker.host.veth import Links
from ovn_docker.libnetwork.api import IpamDriver, NetworkDriver
from ovn_docker.overlay.egress import Egress
from ovn_docker.overlay.gateways import Gateways
from ovn_docker.overlay.ipam.allocator import AddressLeases
from ovn_docker.overlay.ipam.foreign_addresses import ForeignAddresses
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE, ADDRESS_SPACES, OverlayIpam, choose_at_random
from ovn_docker.overlay.name_service import Askers, NameService
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.network_spec import SharingPolicy
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.overlay.overlay_driver import OverlayDriver
from ovn_docker.overlay.overlay_inventory import OverlayInventory, some_time
from ovn_docker.overlay.vtep.ip_lookup import IpLookup
from ovn_docker.ovn import vteps
from ovn_docker.ovn.switches import timestamp
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import TlsFiles
from ovn_docker.settings import TRUNK, Settings
from ovn_docker.state_file import StateFile

if TYPE_CHECKING:
    from ovn_docker.underlay.neutron.credentials import Credentials

LOG = logging.getLogger(__name__)

ANSWERS = "answers to name queries"

STOP_TIMEOUT = 5.0
"""Seconds for background tasks to end after they were cancelled."""

About = Callable[[], Mapping[str, Any]]
"""What NetworkDriver.Database shows besides networks."""


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
class Host:
    """The clients of one host: of its Open_vSwitch database, its network namespace and its Docker."""

    ovs: Client
    links: Links
    engine: Engine
    firewall: Firewall = field(default_factory=partial(Firewall, responder=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The components of a driver, none of them running.

    Attributes:
        ovs: this host's Open_vSwitch database.
        about: what NetworkDriver.Database shows of this driver in particular.
        work: background tasks, by name, that keep the backend connected.
        daemon_work: background tasks, by name, of the daemon only.
        close: what to call when the driver ends.
        presence: proves that this host's name in OVN is its own; None for the underlay.
        host: reads what OVN needs of this host; None for the underlay.
        scan: makes the inventory go through all tables; None for the underlay, which always does.
    """

    ovs: Client
    backend: Backend
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
    scan: Callable[..., None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayComponents(Components):
    """The components of the overlay driver, with those that its commands and tests use besides."""

    driver: OverlayDriver
    ipam: OverlayIpam
    inventory: OverlayInventory
    presence: Presence
    host: HostReader
    northbound: Client
    shared: SharedNetworks
    ip_lookup: IpLookup
    naming: Naming


def this_host(settings: Settings) -> Host:
    """The clients of the host that this process runs on.

    Raises:
        ConfigError: a setting cannot be used.
    """
    tls = TlsFiles(*map(str, settings.database_tls)) if settings.database_tls else None
    return Host(
        ovs=ovn_settings.open_vswitch_client(settings.ovsdb, tls, settings.probe_interval),
        links=Links(),
        engine=Engine(settings.health.docker_socket, settings.health.docker_api_version),
    )


def utc_now() -> datetime:
    """The time of this host's clock."""
    return datetime.now(UTC)


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
    """Begin background tasks; they end only when they are cancelled."""
    return [
        asyncio.create_task(supervision.supervise(name, begin), name=name) for name, begin in work.items()
    ]


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended; one that does not end must not keep the rest from it."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    _, pending = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
    for task in pending:
        LOG.error("%s did not end within %.0f s and is abandoned", task.get_name(), STOP_TIMEOUT)


# --- The overlay driver -------------------------------------------------------------------------------------


def assemble_overlay(
    settings: Settings, about: About, host: Host | None = None, now: Callable[[], datetime] = utc_now
) -> OverlayComponents:
    """Make the components of the overlay driver, on this host if none is given; `now` gives UTC.

    Raises:
        ConfigError: a setting cannot be used.
    """
    host = host or this_host(settings)
    ovs, links, engine = host.ovs, host.links, host.engine
    file, attachments = StateFile(settings.state_file), Attachments(ovs, links)
    nb = ovn_settings.ovn_client(ovs, ovn_settings.NORTHBOUND, vteps.WATCHES)
    presence = Presence(ovs, nb, ThisMachine(file, socket.gethostname(), links.holding), now)
    database = Northbound(nb, attachments, now, presence)
    shared = SharedNetworks(database, file)
    foreign, naming = ForeignAddresses(database, shared.switches_of), Naming(shared, attachments)
    leases = AddressLeases(database, foreign, choose_at_random, shared.lease_from)
    ipam = OverlayIpam(database, leases, settings.default_pools, settings.context, time.monotonic)
    ip_lookup = IpLookup(ovs, shared, settings.driver_name, wanted=settings.ip_lookup)
    policy = SharingPolicy(settings.distributed, settings.context, ADDRESS_SPACES)
    gateways, routers = GatewayLinks(ovs, links), Gateways(nb, foreign)
    egress = Egress(shared, gateways, host.firewall, routers, settings.driver_name)
    names = NameService(Askers(ovs, shared, engine, naming), naming, engine)
    driver = OverlayDriver(
        attachments, shared, foreign, ipam, ip_lookup, egress, naming, policy, settings.scope, about
    )
    inventory = OverlayInventory(database, shared, ipam, settings.context, naming, some_time)
    reader, central = HostReader(attachments, links), partial(look_at_central, nb)
    reading = DriverReading(settings.driver_name, settings.scope, presence, reader, central)
    own_repairs = _overlay_repairs(driver, ip_lookup, egress, naming, engine)
    inspections = ip_lookup.inspect, egress.inspect, names.inspect
    return OverlayComponents(
        ovs=ovs,
        backend=nb,
        links=links,
        driver=driver,
        ipam=ipam,
        engine=engine,
        inventory=inventory,
        reader=Reader(engine, inventory, attachments, reading, *inspections),
        repairs=Repairs(driver, inventory, attachments, ADDRESS_SPACE, own_repairs),
        about=lambda: {"lookup": ip_lookup.about(), **_tls_paths(nb)},
        work=_northbound_work(ovs, nb),
        daemon_work={
            **_dead_host_search(settings, ovs, nb),
            "this host's presence": presence.run,
            "the look at this host": reader.run,
            "IP lookup": ip_lookup.run,
            "plugging in before Join": driver.plugging.run,
            "the way out": egress.run,
            ANSWERS: names.run,
        },
        presence=presence,
        host=reader,
        scan=inventory.scan,
        northbound=nb,
        shared=shared,
        ip_lookup=ip_lookup,
        naming=naming,
    )


def _overlay_repairs(
    driver: OverlayDriver, ip_lookup: IpLookup, egress: Egress, naming: Naming, engine: Engine
) -> dict[str, Repair]:
    """The repairs of what only the overlay driver has, by the kind of the finding."""

    async def publish(container_id: str) -> None:
        await naming.restore(await engine.container(container_id))

    return {
        # no Join follows, so nothing is plugged in ahead of it
        "endpoint-missing": lambda endpoint: driver.make_port(endpoint_request(endpoint)),
        **dict.fromkeys(("lookup-missing", "lookup-surplus"), ip_lookup.repair),
        "rules-missing": egress.restore_rules,
        "gateway-missing": egress.restore,
        "gateway-stale": egress.remove_link,
        "dns-name-missing": publish,
        "dns-name-stale": naming.withdraw,
        **starting(engine),
    }


def _northbound_work(ovs: Client, nb: Client) -> dict[str, Work]:
    return {
        "the connection to OVN Northbound": nb.run,
        "the watch on ovn-nb": partial(ovn_settings.follow_settings, ovs, nb, ovn_settings.NORTHBOUND),
    }


def _dead_host_search(settings: Settings, ovs: Client, nb: Client) -> dict[str, Work]:
    if not settings.dead_host_after:
        return {}
    collector = Collector(ovs, nb, settings.dead_host_after, time.monotonic)
    return {"the search for dead hosts": collector.run}


def _tls_paths(northbound: Client) -> dict[str, Any]:
    """The paths of the TLS files that are used for OVN Northbound, under the guide's keys."""
    tls = northbound.tls
    if tls is None or all(remote.method != "ssl" for remote in northbound.remotes):
        return {}
    return {
        "tls_ca_cert": tls.ca_cert,
        "tls_key_cert": tls.certificate,
        "tls_private_key": tls.private_key,
    }


# --- The underlay driver ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """This virtual machine's part in a cloud.

    Attributes:
        vif: the id of the Neutron port of its interface.
        bridge: that the interface is on.
        child_ports: ``trunk`` or ``profile``, how endpoints' ports are under it.
    """

    credentials: "Credentials"
    vif: str
    bridge: str
    child_ports: str = TRUNK


def assemble_underlay(machine: VirtualMachine, settings: Settings, about: About) -> Components:
    """Make the components of the underlay driver.

    Raises:
        ConfigError: a setting cannot be used.
    """
    # The overlay's program does not need these, and starts without waiting for them.
    from ovn_docker.underlay import neutron_ipam, neutron_networks, neutron_ports, vlans  # noqa: PLC0415
    from ovn_docker.underlay import underlay_driver as underlay  # noqa: PLC0415
    from ovn_docker.underlay.neutron.neutron_client import Neutron  # noqa: PLC0415
    from ovn_docker.underlay.neutron_undo import NeutronUndo  # noqa: PLC0415
    from ovn_docker.underlay.underlay_inventory import UnderlayInventory  # noqa: PLC0415

    host = this_host(settings)
    ovs, links, engine = host.ovs, host.links, host.engine
    attachments = Attachments(ovs, links, machine.bridge)
    neutron, vif, is_trunk = Neutron(machine.credentials), machine.vif, machine.child_ports == TRUNK
    undo = NeutronUndo(answers=neutron.answers)
    refs = neutron_networks.NeutronNetworkRefs(settings.state_file)
    children: vlans.ChildPorts = (
        vlans.TrunkPorts(neutron, vif) if is_trunk else vlans.ProfilePorts(neutron, vif)
    )
    cloud = underlay.Cloud(
        neutron=neutron,
        host=vif,
        networks=neutron_networks.UnderlayNetworks(neutron, vif, refs, undo),
        ports=neutron_ports.EndpointPorts(neutron, vif, children),
        children=children,
        undoing=undo,
        identity=underlay.VifIdentity(neutron, vif, attachments),
    )
    driver = underlay.UnderlayDriver(cloud, attachments, settings.scope, lambda: timestamp(utc_now()), about)
    inventory = UnderlayInventory(cloud, attachments, trunked=is_trunk)
    own_repairs: dict[str, Repair] = {
        "interface-missing": inventory.plug,
        "interface-vlan": inventory.readdress,
        "trunk-missing": lambda _: children.prepare(),
        **starting(engine),
    }
    return Components(
        ovs=ovs,
        backend=neutron,
        links=links,
        driver=driver,
        ipam=neutron_ipam.UnderlayIpam(cloud),
        engine=engine,
        inventory=inventory,
        reader=Reader(engine, inventory, attachments, DriverReading(settings.driver_name, settings.scope)),
        repairs=Repairs(driver, inventory, attachments, underlay.NEUTRON_SPACE, own_repairs),
        about=lambda: {"auth_url": machine.credentials.where, "child_ports": machine.child_ports},
        work={"the connection to Neutron": neutron.run},
        daemon_work={"the look at OS_VIF_ID": cloud.identity.run},
        close=(undo.stop, neutron.close),
    )
