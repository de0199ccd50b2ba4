"""What an OpenStack machine needs once, as one reading found it, without judgement. Pure: types only."""

from collections.abc import Mapping
from dataclasses import dataclass

from ovn_docker.host.bridges import Bridge


@dataclass(frozen=True, slots=True)
class Vif:
    """The Neutron port of the machine's interface.

    Attributes:
        mac: the only MAC address that the cloud lets pass.
        project: whose it is.
        enabled: whether its owner has it switched on.
        status: ``ACTIVE`` when packets pass.
        mtu: of its network in bytes, or None where that is not to be seen.
    """

    mac: str
    project: str
    enabled: bool
    status: str
    mtu: int | None


@dataclass(frozen=True, slots=True)
class VifTrunk:
    """The trunk of that port.

    Attributes:
        id: Neutron's.
        enabled: whether its owner has it switched on.
        status: ``ACTIVE``, or ``DOWN``, ``BUILD``, ``DEGRADED``, ``ERROR``.
    """

    id: str
    enabled: bool
    status: str


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that was set up once.

    Attributes:
        vif_id: the id of the machine's port, as it was told (OS_VIF_ID).
        vif: that port, or None where Neutron shows the project none.
        project: that is logged in, or "" where that is not to be seen.
        lacks: aliases of Neutron's extensions that are needed and are not there.
        trunk: of the port, or None.
        trunked: whether containers' ports are to be under a trunk.
        bridge: the name of the bridge that the machine's interface is to be on.
        bridges: all of the machine.
        links: name to MAC address of all links of the machine.
        networks: name to MTU in bytes of the Neutron network of each network in use.
    """

    vif_id: str
    vif: Vif | None
    project: str
    lacks: tuple[str, ...]
    trunk: VifTrunk | None
    bridge: str
    bridges: tuple[Bridge, ...]
    links: Mapping[str, str]
    networks: Mapping[str, int]
    trunked: bool = True
