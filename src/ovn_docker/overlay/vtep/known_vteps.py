"""The VTEPs that were configured, as this host knows them, and which of OVN's own ports for them are up."""

from collections.abc import Mapping

from ovn_docker.overlay.vtep import vtep_config
from ovn_docker.overlay.vtep.vtep_config import Configured
from ovn_docker.ovn import switches
from ovn_docker.ovn import vteps as schema
from ovn_docker.ovsdb.client import Client


class KnownVteps:
    """Those of the switches that this host watches.

    Attributes:
        up: the VTEPs' ports of OVN's own by name, and whether each was on its chassis at the last look.
    """

    def __init__(self, client: Client, *, wanted: bool) -> None:
        """Use a client that watches `schema.SWITCHES`; without --ip-lookup none is looked up by this host."""
        self._client = client
        self._wanted = wanted
        self.up: Mapping[str, bool] = {}

    def all(self) -> list[Configured]:
        """All of them."""
        return vtep_config.read(self._client.replica.rows(switches.SWITCH))

    def looked_up(self) -> list[Configured]:
        """Those for which this host keeps flows."""
        return [each for each in self.all() if self._wanted and each.mode == schema.LOOKUP]

    def ramps(self) -> set[str]:
        """The addresses of those that have ports of OVN's own, for a host that keeps flows."""
        return {str(each.vtep.remote) for each in self.all() if self._wanted and each.mode == schema.RAMP}

    async def look(self) -> None:
        """Ask by row id which ports of OVN's own are up; while OVN is away it stays as it was.

        Raises:
            DatabaseError: it refused.
        """
        ramps = [each.vtep for each in self.all() if each.mode == schema.RAMP]
        if ramps and not self._client.connected:
            return
        questions = [schema.lsp_ramp_state(each.switch, str(each.remote)) for each in ramps]
        results = await self._client.request(questions) if questions else []
        self.up = schema.ramp_ports_up(row for each in results for row in each["rows"])
