"""Which parts a driver has, and what each is handed: for the daemon and for the commands alike."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ovn_docker.config import Config
from ovn_docker.docker.engine import Engine
from ovn_docker.drivers.ipam import ADDRESS_SPACE, OverlayIpam, choose_at_random
from ovn_docker.drivers.leasing import AddressLeases
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.drivers.occupied import Occupied
from ovn_docker.drivers.overlay import Docker, OverlayDriver
from ovn_docker.drivers.overlay_inventory import OverlayInventory
from ovn_docker.drivers.shared_networks import SharedNetworks
from ovn_docker.drivers.sharing import Policy
from ovn_docker.errors import ConfigError
from ovn_docker.health.reader import Reader
from ovn_docker.health.repairs import Repairs
from ovn_docker.host import databases
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.veth import Links
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import Remote, parse_remotes
from ovn_docker.schema import northbound, open_vswitch
from ovn_docker.state import StateFile


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a driver, none of them running."""

    ovs: Client
    northbound: Client
    links: Links
    driver: OverlayDriver
    ipam: OverlayIpam
    engine: Engine
    inventory: OverlayInventory
    reader: Reader
    repairs: Repairs


def assemble(config: Config, about: Callable[[], Mapping[str, Any]]) -> Parts:
    """Make the parts.

    Args:
        config: of the driver.
        about: what NetworkDriver.Database is to show besides networks.

    Raises:
        ConfigError: a setting cannot be used.
    """
    ovs = Client("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
    ovs.redirect(_ovsdb(config))
    nb = Client("OVN Northbound", "OVN_Northbound", northbound.ROUTER_PORTS)
    links = Links()
    attachments = Attachments(ovs, links)
    database = Northbound(nb, attachments, lambda: datetime.now(UTC))
    shared = SharedNetworks(database, StateFile(config.state_file))
    occupied = Occupied(database, shared.switches_of)
    leases = AddressLeases(database, occupied, choose_at_random)
    ipam = OverlayIpam(database, leases, config.default_pools, config.context, time.monotonic)
    docker = Docker(config.scope, Policy(config.distributed, config.context, ADDRESS_SPACE), about)
    driver = OverlayDriver(attachments, shared, occupied, docker, ipam.opened)
    engine = Engine(config.health.docker_socket, config.health.docker_api_version)
    inventory = OverlayInventory(database, shared, ipam, config.context)
    return Parts(
        ovs=ovs,
        northbound=nb,
        links=links,
        driver=driver,
        ipam=ipam,
        engine=engine,
        inventory=inventory,
        reader=Reader(engine, inventory, attachments, config.driver_name),
        repairs=Repairs(driver, inventory, attachments, ADDRESS_SPACE),
    )


def _ovsdb(config: Config) -> tuple[Remote, ...]:
    try:
        remotes = parse_remotes(config.ovsdb)
    except ConfigError as error:
        raise ConfigError(f"--ovsdb: {error}") from error
    if not remotes:
        raise ConfigError("--ovsdb names no remote: leave it out for the one of this host")
    return remotes


@contextlib.asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Keep the databases connected; the tasks are those that do, and end only when this does."""
    follow = databases.follow_settings(parts.ovs, parts.northbound, databases.NORTHBOUND)
    work = (parts.ovs.run(), parts.northbound.run(), follow)
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
    finally:
        await cancel(*tasks)
        await parts.engine.close()
        parts.links.close()


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
