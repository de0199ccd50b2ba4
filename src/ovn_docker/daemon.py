"""The composition root: it makes the clients, the driver and the listeners, and ends them in order."""

import asyncio
import contextlib
import logging
import resource
import signal
import time
from datetime import UTC, datetime
from typing import Any

from ovn_docker import __version__
from ovn_docker.config import Config
from ovn_docker.drivers.ipam import ADDRESS_SPACE, OverlayIpam, choose_at_random
from ovn_docker.drivers.leasing import AddressLeases
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.drivers.occupied import Occupied
from ovn_docker.drivers.overlay import Docker, OverlayDriver
from ovn_docker.drivers.shared_networks import SharedNetworks
from ovn_docker.drivers.sharing import Policy
from ovn_docker.errors import ConfigError, OvnDockerError
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.veth import Links
from ovn_docker.libnetwork import plugin_file
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.pages import Observation
from ovn_docker.libnetwork.server import create_application
from ovn_docker.metrics import Metrics
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.connection import TlsFiles
from ovn_docker.ovsdb.remotes import Remote, parse_remotes
from ovn_docker.process import Ready
from ovn_docker.schema import northbound, open_vswitch
from ovn_docker.schema.open_vswitch import Settings
from ovn_docker.state import StateFile
from ovn_docker.status import problems

LOG = logging.getLogger(__name__)


async def serve(config: Config, ready: Ready) -> None:
    """Serve Docker until SIGTERM or SIGINT.

    Args:
        config: what to listen on and whom to serve.
        ready: told when the sockets listen and the plugin file is written, and when the end begins.

    Raises:
        ConfigError: an address cannot be listened on, or a setting cannot be used.
    """
    stop = _stop_signals()
    _allow_many_connections()
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
    policy = Policy(config.distributed, config.context, ADDRESS_SPACE)
    driver = OverlayDriver(
        database, attachments, shared, Docker(config.scope, policy, _about(config)), ipam.opened
    )
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(links.close)
        background = [asyncio.create_task(work) for work in (ovs.run(), nb.run(), _follow_settings(ovs, nb))]
        for task in background:
            undo.push_async_callback(_cancel, task)
        metrics = Metrics(__version__, {each.database: each.answers for each in (ovs, nb)})
        observation = Observation(
            metrics.verb_done, lambda: problems((ovs.outage(), nb.outage())), metrics.exposition
        )
        listeners = Listeners(create_application(driver, ipam, observation=observation))
        await listeners.start(config.unix_socket, config.bind)
        undo.push_async_callback(listeners.stop)
        _announce(config, listeners, undo)
        LOG.info("ovn-docker %s serves driver %s", __version__, config.driver_name)
        ready()
        await links.open()
        await _until(stop, background)
        LOG.info("stopping")
        ready.stopping()


def _ovsdb(config: Config) -> tuple[Remote, ...]:
    try:
        remotes = parse_remotes(config.ovsdb)
    except ConfigError as error:
        raise ConfigError(f"--ovsdb: {error}") from error
    if not remotes:
        raise ConfigError("--ovsdb names no remote: leave it out for the one of this host")
    return remotes


def _announce(config: Config, listeners: Listeners, undo: contextlib.AsyncExitStack) -> None:
    """Write the plugin file, if Docker needs one, and see to its removal."""
    name, directory = config.driver_name, config.plugin_directory
    address = plugin_file.advertised_address(name, config.unix_socket, listeners.tcp_address)
    if address is not None:
        plugin_file.write_plugin_file(directory, name, address)
        undo.callback(plugin_file.remove_plugin_file, directory, name, address)


async def _follow_settings(ovs: Client, nb: Client) -> None:
    """Point the Northbound client at what Open_vSwitch says, whenever it says something else."""
    current: Settings | None = None

    def changed() -> Settings | None:
        settings = open_vswitch.read_settings(ovs.replica)
        known = bool(ovs.replica.rows(open_vswitch.ROOT))
        return settings if known and settings != current else None

    while True:
        current = await ovs.replica.until(changed)
        try:
            remotes = parse_remotes(current.northbound)
            why = "" if remotes else "external_ids:ovn-nb is not set in Open_vSwitch"
        except ConfigError as error:
            remotes, why = (), f"external_ids:ovn-nb of Open_vSwitch cannot be used: {error}"
            LOG.warning("%s", why)
        nb.redirect(remotes, TlsFiles(*current.tls) if current.tls else None, why)


def _allow_many_connections() -> None:
    """Take as many file descriptors as the host lets us, so that idle clients do not keep dockerd out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    """Wait for the stop.

    Raises:
        OvnDockerError: a task ended that should not, so the driver would go on half-dead.
    """
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)
    for task in background:
        if task.done():
            stopped.cancel()
            error = task.exception()
            LOG.debug("a part of the driver ended", exc_info=error)
            raise OvnDockerError(f"a part of the driver ended by itself, so the rest ends too: {error!r}")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _about(config: Config) -> dict[str, Any]:
    """The configuration as NetworkDriver.Database shows it: the guide's keys, then ours."""
    ip, port = config.bind or (None, None)
    return {
        "bind_ip": ip,
        "bind_port": port,
        "context": config.context,
        "distributed": config.distributed,
        "docker_api_version": None,
        "docker_last_synched": None,
        "docker_socket": None,
        "health_check_enabled": False,
        "health_check_interval": None,
        "ip_lookup": False,
        "tls_ca_cert": None,
        "tls_key_cert": None,
        "tls_private_key": None,
        "driver_name": config.driver_name,
        "scope": config.scope,
        "default_address_pools": [str(each) for each in config.default_pools],
        "state_file": str(config.state_file),
        "unix_socket": str(config.unix_socket) if config.unix_socket else None,
        "version": __version__,
    }
