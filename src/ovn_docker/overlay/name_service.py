"""Which container asks for a name, and what it may know: the networks that it is on, and no others."""

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ovn_docker.dns.forwarder import Forwarder
from ovn_docker.dns.responder import Asker, Network, Responder, bind
from ovn_docker.docker.engine import GATEWAY_BRIDGE, Engine
from ovn_docker.errors import HostError
from ovn_docker.health.name_checks import BYPASSING
from ovn_docker.health.snapshot import NamesState
from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import Attached
from ovn_docker.host.ruleset import RESPONDER_PORT
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.ovn import names, switches
from ovn_docker.ovn.names import Named
from ovn_docker.ovsdb.client import Client

LOG = logging.getLogger(__name__)

DOCKER_PATIENCE, DOCKER_PAUSE = 1.0, 0.2
"""Seconds for Docker to say who is on docker_gwbridge, and between two questions about strangers."""

START_PATIENCE = 4.0
"""Seconds for which a query waits for Open vSwitch's database after the driver's start."""

BIND_PAUSE = 1.0
"""Seconds until the next attempt to have the port."""


class Askers:
    """The containers of this host that ask for names."""

    def __init__(self, ovs: Client, shared: SharedNetworks, engine: Engine, naming: Naming) -> None:
        self._ovs = ovs
        self._shared = shared
        self._engine = engine
        self._naming = naming
        self._seen = -1
        self._by_address: dict[str, list[Attached]] = {}
        self._by_sandbox: dict[str, list[Attached]] = {}
        self._on_bridge: Mapping[str, str] = {}
        self._asked = self._answered = -DOCKER_PAUSE
        self._asking = asyncio.Lock()

    async def who(self, source: str, link: str) -> Asker | None:
        """The container with an address that is reached by a link of this host; None for a stranger."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_PATIENCE):
                await self._ovs.available()
        self._index()
        if link == GATEWAY_BRIDGE:
            members = await self._behind_bridge(source)
        else:
            members = self._behind_gateway(source, link)
        return self._asker(members) if members else None

    def _index(self) -> None:
        replica = self._ovs.replica
        if self._seen == replica.changes:
            return
        self._seen = replica.changes
        self._by_address, self._by_sandbox = {}, {}
        for each in open_vswitch.all_attached(replica):
            for address in each.addresses:
                self._by_address.setdefault(address, []).append(each)
            if sandbox := each.external_ids.get(open_vswitch.SANDBOX):
                self._by_sandbox.setdefault(sandbox, []).append(each)

    def _behind_gateway(self, source: str, link: str) -> list[Attached]:
        """The endpoints of the container with an address on the switch that a link is the gateway of."""
        gateways = open_vswitch.gateway_links(self._ovs.replica)
        switch = next((gateway.switch for gateway in gateways if gateway.name == link), None)
        for each in self._by_address.get(source, ()):
            if self._switch_of(each.network_id) == switch:
                return self._by_sandbox.get(each.external_ids.get(open_vswitch.SANDBOX, ""), [each])
        return []

    def _switch_of(self, network_id: str) -> str:
        network = self._shared.get(network_id)
        return network.row if network else str(switches.switch_id(network_id))

    async def _behind_bridge(self, source: str) -> list[Attached]:
        """The endpoints of the container that has an address on docker_gwbridge.

        Docker gives the addresses there, so it is asked: each time that one is not known, and each time that
        the container which had one is gone.
        """
        if not self._of_sandbox(self._on_bridge.get(source, "")):
            await self._ask_docker()
            self._index()
        return self._of_sandbox(self._on_bridge.get(source, ""))

    def _of_sandbox(self, beginning: str) -> list[Attached]:
        found = (each for key, each in self._by_sandbox.items() if beginning and key.startswith(beginning))
        return next(found, [])

    async def _ask_docker(self) -> None:
        """Ask who is on docker_gwbridge; those who wait while it is asked share the next answer."""
        came = time.monotonic()
        async with self._asking:
            if self._answered >= came:
                return
            await asyncio.sleep(self._asked + DOCKER_PAUSE - time.monotonic())
            asked = self._asked = time.monotonic()
            try:
                async with asyncio.timeout(DOCKER_PATIENCE):
                    self._on_bridge = await self._engine.askers()
            except TimeoutError:
                raise HostError("Docker does not say who is on docker_gwbridge") from None
            self._answered = asked

    def without_servers(self) -> bool:
        """Whether a container on a shared network was given no name servers of its own."""
        self._index()
        return any(
            open_vswitch.SERVERS not in each.external_ids and self._shared.get(each.network_id) is not None
            for members in self._by_sandbox.values()
            for each in members
        )

    def _asker(self, members: Sequence[Attached]) -> Asker:
        shared = [network for each in members if (network := self._shared.get(each.network_id))]
        return Asker(
            networks=tuple(
                Network(network.as_switch().pools, partial(names.name_id, network.row_id))
                for network in shared
            ),
            servers=self._naming.servers(*members),
            sealed=all(map(self._is_sealed, members)),
        )

    def _is_sealed(self, interface: Attached) -> bool:
        network = self._shared.get(interface.network_id)
        if network is not None:  # an interface that was repaired has no mark
            return network.as_switch().sealed
        return open_vswitch.SEALED in interface.external_ids


class NameService:
    """The responder with what it asks; nothing runs before `run`."""

    def __init__(self, askers: Askers, naming: Naming, engine: Engine) -> None:
        self._askers = askers
        self._naming = naming
        self._engine = engine
        self.responder = Responder(askers.who, naming.cache, Forwarder().forward)
        self.problem = ""

    async def run(self) -> None:
        """Answer queries until cancelled; while another program has the port, try again."""
        try:
            while True:
                try:
                    socket = bind(RESPONDER_PORT)
                except OSError as error:
                    self._report(f"UDP port {RESPONDER_PORT} cannot be used: {error.strerror}")
                    await asyncio.sleep(BIND_PAUSE)
                    continue
                self._report("")
                await self.responder.run(socket)
        finally:
            await self._naming.cache.close()

    async def inspect(self, records: Sequence[Named]) -> NamesState:
        """What is wrong with these names, which are all of this host's, and with answering for them."""
        state = await self._naming.inspect(records)
        version = await self._engine.docker_version() if self._askers.without_servers() else ""
        bypasses = version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) >= BYPASSING
        return replace(state, bypassed=version if bypasses else "", down=self.problem)

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            LOG.warning("containers find no names of other hosts: %s", problem)
        self.problem = problem


def read_servers(texts: object) -> str:
    """The servers of a CreateEndpoint's option, separated by spaces, without what is not an address."""
    found = []
    for text in texts if isinstance(texts, list) else ():
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_address(str(text))))
    return " ".join(found)
