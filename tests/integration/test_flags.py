"""The driver's flags, a case for each group, tried with a second driver beside the usual one of a host.

The rest of them is in tests/unit/test_settings.py, tests/functional/test_daemon.py and test_process.py.
"""

import json

import pytest

from ovn_docker_lab import Lab
from tests.guide import DATABASE_KEYS
from tests.integration import records
from tests.integration.second_driver import Driver
from tests.integration.tenant import Tenant

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

LOG = "/run/second.log"


def test_networks_and_containers_work_over_tcp(driver: Driver, tenant: Tenant, lab: Lab) -> None:
    driver.start(f"--log-file={LOG}", "-vfile:info")
    assert driver.listening() == {"0.0.0.0:5000"}
    assert driver.read(driver.spec) == "tcp://127.0.0.1:5000\n"
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    form = ("--format", "{{.Name}} {{.Scope}}")
    listed = tenant.docker("network", "ls", "--filter", f"driver={driver.name}", *form).stdout
    assert listed == f"{foo.name} local\n"
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo))
    tenant.remove(one, two)
    tenant.remove_network(foo)
    assert records.left(lab) == []
    [line] = [line for line in driver.read(LOG).splitlines() if "CreateNetwork" in line]
    assert foo.id in line
    assert "outcome=ok" in line
    driver.end()
    driver.host.run(["rm", LOG])


def test_its_state_is_shown_with_all_of_the_guide_s_keys(driver: Driver, tenant: Tenant) -> None:
    driver.start()
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    box = tenant.container(foo)
    state = json.loads(driver.fetch("http://0.0.0.0:5000/NetworkDriver.Database"))
    assert set(state) >= DATABASE_KEYS
    assert (state["bind_ip"], state["bind_port"]) == ("0.0.0.0", 5000)
    network = state["networks"][foo.id]
    assert network["Subnet"] == "10.21.0.0/24"
    [container] = network["Containers"].values()
    assert container["EndpointID"] == box.endpoint(foo)["EndpointID"]
    assert container["MacAddress"] == box.endpoint(foo)["MacAddress"]


def test_docker_finds_a_unix_socket_until_a_clean_stop(driver: Driver, tenant: Tenant) -> None:
    driver.start("--unix-socket=/run/second.sock")
    assert driver.listening() == set()
    assert driver.read(driver.spec) == "unix:///run/second.sock\n"
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    tenant.remove_network(foo)
    driver.end()
    for path in (driver.spec, driver.pidfile, "/run/second.sock"):
        assert driver.host.run(["test", "-e", path], check=False).returncode != 0, path


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--bind-ip=192.0.2.1",), "192.0.2.1"),
        (("--detach", "--unix-socket=/proc/second.sock"), "/proc/second.sock"),
        (("--detach", "--pidfile=/proc/second.pid"), "/proc/second.pid"),
        (("--detach", "--log-file=/proc/second.log"), "/proc/second.log"),
        (("--docker-driver-scope=galactic",), "galactic"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named_in_one_line(
    driver: Driver, flags: tuple[str, ...], word: str
) -> None:
    refused = driver.launch(*flags)
    assert refused.returncode not in {0, None}
    assert word in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert driver.read(driver.spec) == ""
