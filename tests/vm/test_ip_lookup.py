"""A VTEP that knows no OVN, a VXLAN link on the other machine, and the containers it reaches."""

from collections.abc import Iterator

import pytest

from tests.polling import eventually
from tests.vm.machines import Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

UNIT = "ovn-docker-overlay-driver"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/lookup.conf"
SETTINGS = """[Service]
User=root
Group=root
Environment="OVN_DOCKER_OPTS=--docker-driver-scope local --health-check-on --ip-lookup"
"""
OVN_DOCKER = "/opt/ovn-docker/bin/ovn-docker"


@pytest.fixture
def looking_up(pair: tuple[Vm, Vm]) -> Iterator[tuple[Vm, Vm]]:
    """The first machine's driver with --ip-lookup, and a VTEP on the second."""
    host, vtep = pair
    link = f"vtep type vxlan id 5001 local {vtep.address} remote {host.address} dstport 4789"
    try:
        host.run(f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '%s' '{SETTINGS}' >{DROP_IN}")
        host.run(f"systemctl daemon-reload && systemctl restart {UNIT}")
        vtep.run(f"ip link add {link} && ip address add 10.1.0.200/24 dev vtep && ip link set vtep up")
        yield host, vtep
    finally:
        vtep.try_("ip link del vtep")
        host.try_(f"docker rm -f web; {OVN_DOCKER} vtep del --remote-ip {vtep.address} --network foo")
        host.try_("docker network rm foo")
        host.run(f"rm -f {DROP_IN} && systemctl daemon-reload && systemctl restart {UNIT}")


def test_a_vtep_reaches_a_container_by_its_address_and_it_the_vtep(looking_up: tuple[Vm, Vm]) -> None:
    host, vtep = looking_up
    host.run("docker network create -d openvswitch --subnet 10.1.0.0/24 --aux-address site=10.1.0.200 foo")
    host.run("docker run -d --net foo --name web busybox httpd -f -p 80 -h /etc")
    host.run(f"{OVN_DOCKER} vtep add --remote-ip {vtep.address} --vni 5001 --network foo --mode lookup")
    ping = "ping -c 1 -W 1 10.1.0.2"
    eventually(vtep.succeeds(ping), 20, "the VTEP reaches the container")
    assert vtep.run("curl -s --max-time 10 http://10.1.0.2/group").strip() == "root:x:0:"
    host.run("docker exec web ping -c 1 -W 2 10.1.0.200")
    assert "mode lookup" in host.run(f"{OVN_DOCKER} check --ip-lookup")
