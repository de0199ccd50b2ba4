"""What only a command looks at, for it grows with the number of hosts, or is the driver itself."""

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from ovn_docker.cli import other_hosts, southbound_state, twice
from ovn_docker.daemon.components import OverlayParts, Parts
from ovn_docker.docker.models import names
from ovn_docker.errors import OvnDockerError
from ovn_docker.health.findings import Finding
from ovn_docker.health.host_checks import check_host
from ovn_docker.libnetwork.plugin_discovery import FILE_DIRECTORIES, socket_paths

ANSWER_TIMEOUT = 3.0
"""Seconds for the driver to answer Plugin.Activate, which needs nothing."""

ACTIVATE = b"POST /Plugin.Activate HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Beyond:
    """What a command has found besides what a driver looks at.

    Attributes:
        findings: what is wrong.
        notes: what was left out, for people.
    """

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


async def look(parts: Parts, driver_name: str) -> Beyond:
    """Look at the driver, this host's tunnels and the hosts behind them, OVN Southbound, and the switches.

    Raises:
        OvnDockerError: not everything could be read.
    """
    if not isinstance(parts, OverlayParts):
        return Beyond()
    found, notes = await _driver(parts, driver_name), []
    async with southbound_state.following(parts.ovs) as client:
        central = await southbound_state.findings(parts.ovs, client)
        if parts.host is not None:
            seen = await other_hosts.look(parts.host, client)
            found += seen.findings
            if seen.unasked:
                notes.append(f"{seen.unasked} other host(s) were not asked whether they are there")
    if parts.presence is None or not parts.presence.problem():
        central += await twice.findings(parts.shared)
    return Beyond((*found, *central), tuple(notes))


async def causes(parts: Parts) -> tuple[Finding, ...]:
    """What is wrong with this host, where OVN's databases cannot be reached: it may be why."""
    if parts.host is None or parts.ovs.outage():
        return ()
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return tuple(check_host(await parts.host.read()))
    except (OvnDockerError, TimeoutError):
        return ()


async def _driver(parts: Parts, name: str) -> list[Finding]:
    if ":" in name:  # a managed plugin, which dockerd starts and watches
        return []
    address = address_of(name)
    if not address:
        drivers = (await parts.engine.network_ids()).values()
        used = sum(names(each, name) for each in drivers)
        why = "it has neither a socket nor a plugin file" if used else ""
    else:
        why = await silence(address)
    if not why:
        return []
    text = (
        f"driver {name} does not answer Docker ({why}), so no container of its networks starts or stops well:"
        " 'systemctl restart ovn-docker-overlay-driver', or start it as you did before"
    )
    return [Finding("driver-down", name, text)]


def address_of(name: str) -> str:
    """Where dockerd finds a driver, as a URL, or "" if it finds none."""
    for path in socket_paths(name):
        if path.exists():
            return f"unix://{path}"
    for place in FILE_DIRECTORIES:
        try:
            return (place / f"{name}.spec").read_text().strip()
        except OSError:
            pass
        try:
            return str(json.loads((place / f"{name}.json").read_text())["Addr"])
        except (OSError, ValueError, LookupError, TypeError):
            pass
    return ""


async def silence(address: str) -> str:
    """Why nothing answers at a plugin's address, or ""."""
    url = urlsplit(address)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            if url.scheme == "unix":
                reader, writer = await asyncio.open_unix_connection(url.path)
            else:
                reader, writer = await asyncio.open_connection(url.hostname, url.port)
            try:
                if url.scheme == "https":  # it would ask for a certificate
                    return ""
                writer.write(ACTIVATE)
                return "" if await reader.readline() else f"{address}: the connection was closed"
            finally:
                writer.close()
    except PermissionError:  # whoever types this may not ask it; dockerd may
        return ""
    except TimeoutError:
        return f"{address}: no answer within {ANSWER_TIMEOUT:g} s"
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"
