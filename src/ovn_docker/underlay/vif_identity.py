"""Whether OS_VIF_ID is this machine's: by it everything in Neutron is told apart from other machines'.

A copied openrc file or a cloned image has another machine's, and Docker in a cloned image even has that
machine's networks and endpoints, and asks to delete them at its start.
"""

import asyncio
import logging
from dataclasses import replace

from ovn_docker.errors import ConfigError, NeutronError, OvnDockerError
from ovn_docker.health.openstack_checks import check_identity
from ovn_docker.health.setup import Setup, Vif
from ovn_docker.host import veth
from ovn_docker.host.attachment import Attachments
from ovn_docker.underlay.neutron.neutron_client import Neutron

LOG = logging.getLogger(__name__)

UNUSABLE = frozenset({"vif-missing", "vif-elsewhere"})
"""Kinds of findings with which no verb can be served."""

PAUSE = 5.0
"""Seconds between two looks at what is wrong."""


class Identity:
    """What this machine is in the cloud."""

    def __init__(self, neutron: Neutron, host: str, attachments: Attachments) -> None:
        """Look there; `host` is the id of this machine's Neutron port, as it was told."""
        self._neutron = neutron
        self._host = host
        self._attachments = attachments
        self._looking = asyncio.Lock()
        self._confirmed = False
        self._wrong = ""

    def problem(self) -> str:
        """What the last look found wrong, or ""."""
        return self._wrong

    async def confirm(self) -> None:
        """Look whether the port is this machine's, until it was; then it stays so.

        Raises:
            ConfigError: it is not; nothing of it may be touched.
            NeutronError, UnreachableError: it cannot be looked at.
        """
        async with self._looking:  # who comes meanwhile is told the same
            if not self._confirmed:
                await self._look()

    async def _look(self) -> None:
        found = {each.kind: each.text for each in check_identity(await self._read())}
        wrong = "; ".join(text for kind, text in found.items() if kind in UNUSABLE)
        for text in found.values():
            if wrong != self._wrong or not wrong:
                LOG.error("%s", text)
        self._wrong = wrong
        if wrong:
            raise ConfigError(wrong)
        self._confirmed = True

    async def run(self) -> None:
        """Say at the start what is wrong, and no more than once."""
        while not self._confirmed:
            try:
                await self.confirm()
            except OvnDockerError as error:
                LOG.debug("a look at the port of this machine: %s", error)
                await asyncio.sleep(PAUSE)
        await asyncio.Event().wait()

    async def _read(self) -> Setup:
        vif = await self._vif()
        bridge, links = self._attachments.bridge, veth.macs()
        setup = Setup(
            vif_id=self._host,
            vif=vif,
            project=await self._neutron.project(),
            lacks=(),
            trunk=None,
            bridge=bridge,
            bridges=(),
            links=links,
            networks={},
        )
        if not UNUSABLE & {each.kind for each in check_identity(setup)} or vif is None:
            return setup
        # The kernel does not know an interface of DPDK's, Open vSwitch does.
        return replace(setup, bridges=await self._attachments.bridges())

    async def _vif(self) -> Vif | None:
        try:
            found = await self._neutron.get(f"ports/{self._host}")
        except NeutronError as error:
            if error.status != 404:  # noqa: PLR2004
                raise
            return None
        port = found["port"]
        project = port.get("project_id") or ""
        return Vif(mac=port["mac_address"], project=project, enabled=True, status="", mtu=None)
