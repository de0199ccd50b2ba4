"""What a host needs so that OVN serves it, as one look found it, without judgement. Pure: types only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ovn_docker.health.daemons import Daemons
from ovn_docker.host.open_vswitch import Settings


@dataclass(frozen=True, slots=True)
class HostSetup:
    """One look at this host, which asks nobody else.

    Attributes:
        settings: how it takes part in OVN.
        daemons: of Open vSwitch and OVN, that run here.
        addresses: each of ``ovn-encap-ip``, with the link that holds it, or None.
        capabilities: of that bridge's datapath, ``"true"`` or ``"false"`` by name.
    """

    settings: Settings
    daemons: Daemons
    addresses: Mapping[str, str | None]
    capabilities: Mapping[str, str] = field(default_factory=dict)
