"""The way to OpenStack: TLS with a CA of one's own, regions and interfaces of the catalogue."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.underlay import docker_requests
from tests.underlay.clouds import Cloud
from tests.underlay.docker_requests import new_id
from tests.underlay.identity import KEYSTONE_PORT, NEUTRON_PORT
from tests.underlay.machines import VirtualMachine
from tests.underlay.proxy import Proxy, register

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(180), pytest.mark.slow]

SEALED, SEALED_KEYSTONE, SEALED_NEUTRON = "Sealed", 5443, 9443
INNER, INNER_NEUTRON = "Inner", 9698


@pytest.fixture
def authority(cloud: Cloud, tmp_path: Path) -> Iterator[Authority]:
    """Keystone and Neutron behind TLS, with certificates of this CA."""
    authority = Authority(tmp_path / "ca")
    address = str(cloud.lab.central.address)
    pair = authority.issue("openstack", address=address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    register(cloud.openstack.admin(), f"https://{address}:{SEALED_NEUTRON}", SEALED)
    namespace = cloud.openstack.namespace
    with (
        Proxy(namespace, address, SEALED_KEYSTONE, KEYSTONE_PORT, context).serve(),
        Proxy(namespace, address, SEALED_NEUTRON, NEUTRON_PORT, context).serve(),
    ):
        yield authority


def said_by(vm: VirtualMachine, environment: dict[str, str]) -> str:
    """What a driver with this login says to a CreateNetwork, "" for success; nothing is left."""
    vm.stop_driver()
    vm.start_driver(environment=environment)
    network_id = new_id()
    error = vm.plugin.call("CreateNetwork", docker_requests.network(network_id)).error
    assert "\n" not in error
    if not error:
        assert vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).ok
    return error


def test_a_ca_bundle_makes_openstack_trusted_and_without_it_is_not(
    cloud: Cloud, vm: VirtualMachine, authority: Authority
) -> None:
    where = f"https://{cloud.lab.central.address}:{SEALED_KEYSTONE}/v3"
    sealed = vm.environment(cloud.demo, OS_AUTH_URL=where, OS_REGION_NAME=SEALED)
    assert said_by(vm, sealed) == (
        f"OpenStack's certificate is not trusted (login at {where}), unable to get local issuer certificate:"
        " see OS_CACERT"
    )
    assert said_by(vm, {**sealed, "OS_CACERT": str(authority.certificate)}) == ""
    assert said_by(vm, {**sealed, "OS_INSECURE": "true"}) == ""


def test_region_and_interface_say_which_neutron_is_used(cloud: Cloud, vm: VirtualMachine) -> None:
    address = str(cloud.lab.central.address)
    register(cloud.openstack.admin(), f"http://{address}:{INNER_NEUTRON}", INNER, interface="internal")
    inner = vm.environment(cloud.demo, OS_REGION_NAME=INNER)
    with Proxy(cloud.openstack.namespace, address, INNER_NEUTRON).serve() as proxy:
        assert "has no public address of Neutron in region Inner" in said_by(vm, inner)
        assert proxy.passed == []
        assert said_by(vm, {**inner, "OS_INTERFACE": "internal"}) == ""
        assert [each.method for each in proxy.passed].count("DELETE") == 1
        assert said_by(vm, {**inner, "OS_REGION_NAME": "RegionOne"}) == ""
        assert [each.method for each in proxy.passed].count("DELETE") == 1
    assert "has no public address of Neutron in region Nowhere" in said_by(
        vm, {**inner, "OS_REGION_NAME": "Nowhere"}
    )
