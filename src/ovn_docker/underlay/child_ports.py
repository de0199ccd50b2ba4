"""How endpoints' ports are under the virtual machine's: what a trunk and binding:profile have in common."""

from collections.abc import Mapping
from typing import Protocol

from ovn_docker.underlay.neutron.resources import Port


class ChildPorts(Protocol):
    """The ports under one virtual machine's port, each with a VLAN that no other of them has."""

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:
        """The VLAN of each port, by the port's id.

        Args:
            endpoint_id: whose port is asked for, or "" for all; there may be more in the answer.
        """

    async def prepare(self) -> None:
        """See to it that ports can be put under the machine's: make the trunk where one is used.

        Raises:
            NeutronError: Neutron refused.
            ConflictError: the machine's port has children of the other kind.
        """

    async def add(self, port: Port) -> int:
        """Put a port under the machine's and return its VLAN; one that is there keeps its own.

        Raises:
            NeutronError: Neutron refused.
            ConflictError: the machine's port has children of the other kind.
            RequestError: no VLAN is free.
        """

    async def remove(self, port_id: str) -> None:
        """Take a port from under the machine's; one that is not there is success.

        Raises:
            NeutronError: Neutron refused.
        """

    async def let_go(self, port_id: str) -> None:
        """See to it that Neutron does not refuse to remove a port.

        Raises:
            NeutronError: Neutron refused.
        """
