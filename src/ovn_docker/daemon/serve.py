"""The driver as a daemon: what runs, in which order it starts, and how it ends."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ovn_docker import __version__
from ovn_docker.daemon.components import (
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

# --- Whether the driver can do its work just now, as /healthz tells it. Pure: values in, lines out. ---------


PATIENCE = 3
"""Intervals of the health check without a good pass before that is told."""


@dataclass(frozen=True, slots=True)
class HealthCheckState:
    """How the health check fares.

    Attributes:
        interval: seconds from one pass to the next.
        silence: seconds since the last good pass; before the first, since the start.
    """

    interval: float
    silence: float


def problems(outages: Iterable[str], health_check: HealthCheckState | None = None) -> list[str]:
    """What is wrong, one line for each.

    Args:
        outages: of each database why it cannot be used, or "", and of other parts.
        health_check: None where it is off.
    """
    found = [outage for outage in outages if outage]
    if health_check is not None and health_check.silence > PATIENCE * health_check.interval:
        found.append(
            f"the health check has had no good pass for {health_check.silence:.0f} s, at an interval of"
            f" {health_check.interval:g} s: see the log"
        )
    return found


LOG = logging.getLogger(__name__)


Assemble = Callable[[Settings, Callable[[], Mapping[str, Any]]], Components]


async def serve(
    config: Settings, ready: Ready, assemble: Assemble = assemble_overlay, bound: socket.socket | None = None
) -> None:
    """Serve Docker until SIGTERM or SIGINT.

    Args:
        config: what to listen on and whom to serve.
        ready: told when the sockets listen and the plugin file is written, and when the end begins.
        assemble: makes the driver; by default the one for OVN Northbound.
        bound: the unix socket, where it is bound already.

    Raises:
        ConfigError: an address cannot be listened on, or a setting cannot be used.
    """
    stop = _stop_signals()
    capacity = _allow_many_connections()
    synched = _LastSynched()
    parts = assemble(
        config,
        lambda: {**_about(config), "docker_last_synched": synched.when, **parts.about()},
    )
    supervision = Supervision()
    async with contextlib.AsyncExitStack() as undo:
        await undo.enter_async_context(running(parts, supervision))
        # Before the databases are connected, so that the first connection is not used by anything else first.
        undo.push_async_callback(cancel, *start(supervision, parts.daemon_work))
        metrics = measured(parts)
        tls = _certificates(config)
        observation = _observation(config, parts, metrics, tls, supervision)
        application = create_application(parts.driver, parts.ipam, observation=observation)
        listeners = Listeners(application, capacity=capacity)
        await listeners.start(config.unix_socket, config.bind, tls, bound)
        undo.push_async_callback(listeners.stop)
        _announce(config, listeners, tls, undo)
        undo.push_async_callback(cancel, *start(supervision, watching(config, parts, metrics, synched.note)))
        LOG.info("ovn-docker %s serves driver %s", __version__, config.driver_name)
        ready()
        await parts.links.open()
        await stop.wait()
        LOG.info("stopping")
        ready.stopping()


class _LastSynched:
    """When the last pass of the health check succeeded.

    Attributes:
        when: in seconds since 1970, UTC, as the guide has it; None before the first.
    """

    def __init__(self) -> None:
        self.when: float | None = None

    def note(self, report: Report) -> None:
        if report.good:
            self.when = time.time()


def watching(
    config: Settings, parts: Components, metrics: Metrics, note: Callable[[Report], None]
) -> dict[str, Work]:
    """The health check, which tells `note` of each pass; without it what is told of Docker all the same."""
    if not config.health.on:
        scope = {"the watch on Docker's scope": partial(watch_scope, parts.engine, config.driver_name)}
        return dict(scope) if config.scope == "global" else {}

    def done(report: Report) -> None:
        note(report)
        findings = Counter(each.kind for each in report.findings)
        metrics.pass_done(findings, Counter(each.kind for each in report.repaired), good=report.good)

    reconciler = Reconciler(parts.reader, parts.repairs, config.health.interval, done, parts.backend.outage)
    naming = ContainerNaming(parts.engine, parts.inventory, reconciler.hurry)
    parts.ovs.when_connected(reconciler.hurry)
    parts.backend.when_connected(reconciler.want)
    return {"the health check": reconciler.run, "the naming of ports": naming.run}


def measured(parts: Components) -> Metrics:
    """The metrics of a driver, which its databases tell from now on."""
    databases = (parts.ovs, parts.backend)
    metrics = Metrics(__version__, {each.database: each.answers for each in databases})
    for each in databases:
        each.when_connected(partial(metrics.connected, each.database))
    if isinstance(parts, OverlayComponents):
        parts.northbound.answered = metrics.nb_round_trip
    return metrics


def _observation(
    config: Settings, parts: Components, metrics: Metrics, tls: Certificates | None, supervision: Supervision
) -> Observation:
    """What /healthz and /metrics tell."""
    started = time.monotonic()

    def found() -> list[str]:
        age = metrics.last_good_pass_age()
        silence = time.monotonic() - started if age is None else age
        check = HealthCheckState(config.health.interval, silence) if config.health.on else None
        taken = parts.presence.problem() if parts.presence else ""
        host = parts.host.problems() if parts.host else ()
        outages = (parts.ovs.outage(), *host, parts.backend.outage())  # what is wrong here may be why
        others = tls.problem if tls else "", taken, *supervision.problems()
        return problems((*outages, *others), check)

    names = ContainerNames()
    parts.engine.named = names.note
    return Observation(metrics.verb_done, found, metrics.exposition, names.of, in_flight=metrics.in_flight)


def _certificates(config: Settings) -> Certificates | None:
    if config.tls is None:
        return None
    return Certificates(ListenerFiles(config.tls.certificate, config.tls.key, config.tls.client_ca))


def _announce(
    config: Settings, listeners: Listeners, tls: Certificates | None, undo: contextlib.AsyncExitStack
) -> None:
    """Write the plugin file, if Docker needs one, and see to its removal."""
    address = plugin_discovery.advertised_address(
        config.driver_name, config.unix_socket, listeners.tcp_address
    )
    if address is None:
        return
    docker = DockerFiles(*config.tls.docker) if config.tls and config.tls.docker else None
    if tls is not None and docker is not None:
        tls.serve_docker(docker, urlsplit(address).hostname or "")
    file = plugin_discovery.plugin_file(config.plugin_directory, config.driver_name, address, docker)
    plugin_discovery.check_no_other(file)
    plugin_discovery.write_plugin_file(file)
    undo.callback(plugin_discovery.remove_plugin_file, file)


def _allow_many_connections() -> int:
    """Take as many file descriptors as the host lets us, so that idle clients do not keep dockerd out.

    Returns how many connections a listener may have: all of them together leave some for other use.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(CAPACITY, most // 4)


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _about(config: Settings) -> dict[str, Any]:
    """The configuration as NetworkDriver.Database shows it: the guide's keys, then ours."""
    ip, port = config.bind or (None, None)
    return {
        "bind_ip": ip,
        "bind_port": port,
        "context": config.context,
        "distributed": config.distributed,
        "docker_api_version": config.health.docker_api_version,
        "docker_last_synched": None,
        "docker_socket": config.health.docker_socket,
        "health_check_enabled": config.health.on,
        "health_check_interval": config.health.interval,
        "ip_lookup": config.ip_lookup,
        "tls_ca_cert": None,
        "tls_key_cert": None,
        "tls_private_key": None,
        "driver_name": config.driver_name,
        "scope": config.scope,
        "dead_host_after": config.dead_host_after or None,
        "default_address_pools": [str(each) for each in config.default_pools],
        "state_file": str(config.state_file),
        "unix_socket": str(config.unix_socket) if config.unix_socket else None,
        "version": __version__,
    }
