"""Clients of this host's Open_vSwitch, and of OVN's databases where that says they are."""

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

from ovn_docker.errors import ConfigError
from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import OvnSettings
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import Remote, TlsFiles, parse_remotes
from ovn_docker.ovsdb.replica import Watch

LOG = logging.getLogger(__name__)

SWITCH_SERVICE, CENTRAL_SERVICE = "openvswitch-switch", "ovn-central"
"""Debian's systemd units of a host's database, and of OVN's databases."""

NORTHBOUND, SOUTHBOUND = "ovn-nb", "ovn-remote"
"""Keys of Open_vSwitch's external_ids that name OVN's databases."""

_DATABASES = {
    NORTHBOUND: ("OVN Northbound", "OVN_Northbound"),
    SOUTHBOUND: ("OVN Southbound", "OVN_Southbound"),
}
"""What each is called, for people and in OVSDB."""


@functools.cache
def chassis_override(directory: str = "") -> str:
    """The name of this host in OVN that overrides Open_vSwitch's, or ""; read once, as ovn-controller(8)
    does.
    """
    where = directory or os.environ.get("OVN_SYSCONFDIR") or "/etc/ovn"
    try:
        text = Path(where, "system-id-override").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    return text.partition("\n")[0].rstrip("\r")


def settings_of(ovs: Client) -> OvnSettings:
    """How this host takes part in OVN, as its database says now."""
    return open_vswitch.read_settings(ovs.replica, chassis_override())


async def known_settings(ovs: Client) -> OvnSettings:
    """How this host takes part in OVN; waits without limit until its database has been read."""
    return await ovs.replica.until(lambda: settings_of(ovs) if ovs.replica.rows(open_vswitch.ROOT) else None)


def remotes_of(flag: str, text: str) -> tuple[Remote, ...]:
    """The remotes that a flag names.

    Raises:
        ConfigError: it names none, or one of another form.
    """
    try:
        remotes = parse_remotes(text)
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from error
    if not remotes:
        raise ConfigError(f"{flag} names no remote: leave it out for the one of this host")
    return remotes


def open_vswitch_client(
    ovsdb: str, tls: TlsFiles | None = None, probe_interval: float | None = None
) -> Client:
    """A client of the Open_vSwitch database that ``--ovsdb`` names; the rest holds for OVN's databases too.

    Raises:
        ConfigError: it names none.
    """
    ovs = Client("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
    ovs.own_tls, ovs.probe_interval, ovs.service = tls, probe_interval, SWITCH_SERVICE
    ovs.redirect(remotes_of("--ovsdb", ovsdb))
    return ovs


def ovn_client(ovs: Client, key: str, watches: Mapping[str, Watch]) -> Client:
    """A client of the OVN database of a key, with the TLS files and the probes of Open_vSwitch's."""
    title, database = _DATABASES[key]
    client = Client(title, database, watches)
    client.own_tls, client.probe_interval, client.service = ovs.own_tls, ovs.probe_interval, CENTRAL_SERVICE
    return client


@contextlib.asynccontextmanager
async def connected(client: Client, *work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Keep a client connected, and do other work for it, for as long as the context lasts."""
    tasks = [asyncio.create_task(coroutine) for coroutine in (client.run(), *work)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def following(
    ovs: Client, key: str, watches: Mapping[str, Watch], remotes: tuple[Remote, ...] = ()
) -> AsyncIterator[Client]:
    """A connected client of an OVN database, wherever Open_vSwitch says it is, or at other remotes."""
    client = ovn_client(ovs, key, watches)
    async with connected(client, follow_settings(ovs, client, key, remotes)):
        yield client


async def follow_settings(ovs: Client, client: Client, key: str, remotes: tuple[Remote, ...] = ()) -> None:
    """Redirect a client to what Open_vSwitch says, and again at each change, until cancelled.

    `remotes` are in place of those that Open_vSwitch names; the TLS files are Open_vSwitch's all the same.
    """
    current: OvnSettings | None = None

    def changed() -> OvnSettings | None:
        settings = settings_of(ovs)
        known = bool(ovs.replica.rows(open_vswitch.ROOT))
        return settings if known and settings != current else None

    while True:
        current = await ovs.replica.until(changed)
        tls = TlsFiles(*current.tls) if current.tls else None
        found, reason = (remotes, "") if remotes else _remotes(current, key)
        client.redirect(found, tls, reason)


def _remotes(settings: OvnSettings, key: str) -> tuple[tuple[Remote, ...], str]:
    """Where the database of a key is; or nowhere, and why."""
    try:
        remotes = parse_remotes(settings.northbound if key == NORTHBOUND else settings.southbound)
    except ConfigError as error:
        reason = f"external_ids:{key} of Open_vSwitch cannot be used: {error}"
        LOG.warning("%s", reason)
        return (), reason
    return remotes, "" if remotes else f"external_ids:{key} is not set in Open_vSwitch"
