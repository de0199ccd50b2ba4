"""A network with `-o egress=none` leads nowhere, but its containers reach each other and their host them."""

import pytest

from tests.integration.probing import PROBE_IMAGE, SERVE, TCP, Probe
from tests.integration.tenant import OURS, Tenant

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration


def test_a_network_with_no_way_out_leads_nowhere(tenant: Tenant, probe: Probe) -> None:
    host = tenant.host
    network = tenant.network("10.73.0.0/24", *OURS, "-o", "egress=none")
    box, neighbour = (
        tenant.container(network, command=f"{SERVE} sealed 80", image=PROBE_IMAGE) for _ in range(2)
    )
    assert set(box.links()) == {"eth0"}
    assert box.default_routes() == []
    assert not box.pings("10.73.0.1")
    assert not box.pings(str(host.address))
    assert box.pings(neighbour.address(network))
    assert probe.asks(host, TCP, box.address(network), 80) == "sealed saw 10.73.0.1"
