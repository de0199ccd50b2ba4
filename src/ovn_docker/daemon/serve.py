"""The driver as a daemon: what runs, in which order it starts, how it ends, and what it reports of itself."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ovn_docker import __version__
from ovn_docker.daemon.components import (
    About,
    Components,
    OverlayComponents,
    assemble_overlay,
    cancel,
    running,
    start,
)
from ovn_docker.daemon.metrics import Metrics
from ovn_docker.daemon.process import Ready
from ovn_docker.daemon.supervision import Supervision, Work
from ovn_docker.health.container_names import ContainerNaming
from ovn_docker.health.reconciler import Reconciler, Report, watch_scope
from ovn_docker.libnetwork import plugin_discovery
from ovn_docker.libnetwork.certificates import Certificates, DockerFiles, ListenerFiles
from ovn_docker.libnetwork.listeners import CAPACITY, Listeners
from ovn_docker.libnetwork.server import ContainerNames, Observation, create_application
from ovn_docker.settings import Settings

LOG = logging.getLogger(__name__)

NAMING = "the naming of containers"

OVERDUE_INTERVALS = 3
"""Intervals of the health check without a good pass before /healthz reports it."""

Assemble = Callable[[Settings, About], Components]


async def serve(
    settings: Settings,
    ready: Ready,
    assemble: Assemble = assemble_overlay,
    bound: socket.socket | None = None,
) -> None:
    """Serve Docker until SIGTERM or SIGINT.

    Args:
        settings: of the driver.
        ready: called when the sockets listen and the plugin file is written.
        assemble: makes the components of the driver.
        bound: the unix socket, where it is bound already.

    Raises:
        ConfigError: an address cannot be listened on, or a setting cannot be used.
    """
    stop = _stop_signals()
    capacity = _allow_many_connections()
    synched: dict[str, float | None] = {"docker_last_synched": None}  # the guide's key, in seconds since 1970

    def note_pass(report: Report) -> None:
        if report.good:
            synched["docker_last_synched"] = time.time()

    parts: Components = assemble(settings, lambda: {**_about(settings), **synched, **parts.about()})
    supervision = Supervision()
    async with contextlib.AsyncExitStack() as undo:
        await undo.enter_async_context(running(parts, supervision))
        # Before the databases are connected, so that the first connection is not used by anything else first.
        undo.push_async_callback(cancel, *start(supervision, parts.daemon_work))
        metrics = measured(parts)
        tls = _certificates(settings)
        observation = _observation(settings, parts, metrics, tls, supervision)
        application = create_application(parts.driver, parts.ipam, observation=observation)
        listeners = Listeners(application, capacity=capacity)
        await listeners.start(settings.unix_socket, settings.bind, tls, bound)
        undo.push_async_callback(listeners.stop)
        _announce(settings, listeners, tls, undo)
        undo.push_async_callback(cancel, *start(supervision, watching(settings, parts, metrics, note_pass)))
        LOG.info("ovn-docker %s serves driver %s", __version__, settings.driver_name)
        ready()
        await parts.links.open()
        await stop.wait()
        LOG.info("stopping")
        ready.stopping()


def watching(
    settings: Settings, parts: Components, metrics: Metrics, note_pass: Callable[[Report], None]
) -> dict[str, Work]:
    """What follows Docker: the naming of containers, and the health check or the watch on Docker's scope.

    The health check calls `note_pass` after each pass. Without it only the overlay driver names containers.
    """
    if not settings.health.on:
        work: dict[str, Work] = {}
        if settings.scope == "global":
            work["the watch on Docker's scope"] = partial(watch_scope, parts.engine, settings.driver_name)
        if isinstance(parts, OverlayComponents):
            work[NAMING] = ContainerNaming(parts.engine, parts.inventory, lambda: None).run
        return work

    def done(report: Report) -> None:
        note_pass(report)
        findings = Counter(finding.kind for finding in report.findings)
        metrics.pass_done(findings, Counter(finding.kind for finding in report.repaired), good=report.good)

    reconciler = Reconciler(parts.reader, parts.repairs, settings.health.interval, done, parts.backend.outage)
    naming = ContainerNaming(parts.engine, parts.inventory, reconciler.hurry)
    parts.ovs.when_connected(reconciler.hurry)
    parts.backend.when_connected(reconciler.want)
    return {"the health check": reconciler.run, NAMING: naming.run}


def measured(parts: Components) -> Metrics:
    """The metrics of a driver, to which its databases report from now on."""
    databases = (parts.ovs, parts.backend)
    metrics = Metrics(__version__, {database.database: database.answers for database in databases})
    for database in databases:
        database.when_connected(partial(metrics.connected, database.database))
    if isinstance(parts, OverlayComponents):
        parts.northbound.answered = metrics.nb_round_trip
    return metrics


def _observation(
    settings: Settings,
    parts: Components,
    metrics: Metrics,
    tls: Certificates | None,
    supervision: Supervision,
) -> Observation:
    """What /healthz and /metrics show."""
    started = time.monotonic()

    def problems() -> list[str]:
        found = [parts.ovs.outage()]
        if parts.host:
            found += parts.host.problems()  # before Northbound's outage, of which they may be the cause
        found.append(parts.backend.outage())
        if tls:
            found.append(tls.problem)
        if parts.presence:
            found.append(parts.presence.problem())
        found += supervision.problems()
        if settings.health.on:
            age = metrics.last_good_pass_age()
            found.append(
                overdue(time.monotonic() - started if age is None else age, settings.health.interval)
            )
        return [problem for problem in found if problem]

    names = ContainerNames()
    parts.engine.named = names.note
    return Observation(metrics.verb_done, problems, metrics.exposition, names.of, in_flight=metrics.in_flight)


def overdue(age: float, interval: float) -> str:
    """That the last good pass of the health check is too long ago, or ""; both in seconds."""
    if age <= OVERDUE_INTERVALS * interval:
        return ""
    times = f"for {age:.0f} s, at an interval of {interval:g} s"
    return f"the health check has had no good pass {times}: see the log"


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls is None:
        return None
    return Certificates(ListenerFiles(settings.tls.certificate, settings.tls.key, settings.tls.client_ca))


def _announce(
    settings: Settings, listeners: Listeners, tls: Certificates | None, undo: contextlib.AsyncExitStack
) -> None:
    """Write the plugin file if Docker needs one, to be removed at the end."""
    address = plugin_discovery.advertised_address(
        settings.driver_name, settings.unix_socket, listeners.tcp_address
    )
    if address is None:
        return
    docker = DockerFiles(*settings.tls.docker) if settings.tls and settings.tls.docker else None
    if tls is not None and docker is not None:
        tls.serve_docker(docker, urlsplit(address).hostname or "")
    file = plugin_discovery.plugin_file(settings.plugin_directory, settings.driver_name, address, docker)
    plugin_discovery.check_no_other(file)
    plugin_discovery.write_plugin_file(file)
    undo.callback(plugin_discovery.remove_plugin_file, file)


def _allow_many_connections() -> int:
    """Raise the limit of open files to its maximum, so that idle clients do not keep dockerd out.

    Returns how many connections each listener may have, so that some files are left for other use.
    """
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
    return min(CAPACITY, maximum // 4)


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _about(settings: Settings) -> dict[str, Any]:
    """The configuration as NetworkDriver.Database shows it: the guide's keys, then this driver's own."""
    ip, port = settings.bind or (None, None)
    return {
        "bind_ip": ip,
        "bind_port": port,
        "context": settings.context,
        "distributed": settings.distributed,
        "docker_api_version": settings.health.docker_api_version,
        "docker_last_synched": None,
        "docker_socket": settings.health.docker_socket,
        "health_check_enabled": settings.health.on,
        "health_check_interval": settings.health.interval,
        "ip_lookup": settings.ip_lookup,
        "tls_ca_cert": None,
        "tls_key_cert": None,
        "tls_private_key": None,
        "driver_name": settings.driver_name,
        "scope": settings.scope,
        "dead_host_after": settings.dead_host_after or None,
        "default_address_pools": [str(pool) for pool in settings.default_pools],
        "state_file": str(settings.state_file),
        "unix_socket": str(settings.unix_socket) if settings.unix_socket else None,
        "version": __version__,
    }
