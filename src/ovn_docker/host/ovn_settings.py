"""Points clients of OVN's databases at where this host's Open_vSwitch says they are."""

import functools
import logging
import os
from pathlib import Path

from ovn_docker.errors import ConfigError
from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import OvnSettings
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import TlsFiles, parse_remotes

LOG = logging.getLogger(__name__)

SWITCH_SERVICE, CENTRAL_SERVICE = "openvswitch-switch", "ovn-central"
"""Units of Debian's packages with the database of a host, and with those of OVN."""

NORTHBOUND, SOUTHBOUND = "ovn-nb", "ovn-remote"
"""Keys of Open_vSwitch's external_ids that name OVN's databases."""


@functools.cache
def chassis_override(directory: str = "") -> str:
    """What OVN calls this host whatever Open_vSwitch says, or ""; read once, as ovn-controller(8) does.

    Args:
        directory: of the file; by default OVN's own.
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
    """How this host takes part in OVN, once its database has been read; waits without limit for that."""
    return await ovs.replica.until(lambda: settings_of(ovs) if ovs.replica.rows(open_vswitch.ROOT) else None)


async def follow_settings(ovs: Client, client: Client, key: str) -> None:
    """Point a client at what Open_vSwitch says, and again whenever it says something else, until cancelled.

    Args:
        ovs: watches `open_vswitch.WATCHES`.
        client: of one of OVN's databases.
        key: where its remotes stand, `NORTHBOUND` or `SOUTHBOUND`.
    """
    current: OvnSettings | None = None

    def changed() -> OvnSettings | None:
        settings = settings_of(ovs)
        known = bool(ovs.replica.rows(open_vswitch.ROOT))
        return settings if known and settings != current else None

    while True:
        current = await ovs.replica.until(changed)
        _redirect(client, key, current)


def _redirect(client: Client, key: str, settings: OvnSettings) -> None:
    text = settings.northbound if key == NORTHBOUND else settings.southbound
    try:
        remotes = parse_remotes(text)
        why = "" if remotes else f"external_ids:{key} is not set in Open_vSwitch"
    except ConfigError as error:
        remotes, why = (), f"external_ids:{key} of Open_vSwitch cannot be used: {error}"
        LOG.warning("%s", why)
    client.redirect(remotes, TlsFiles(*settings.tls) if settings.tls else None, why)
