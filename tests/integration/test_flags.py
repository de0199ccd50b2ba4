"""The driver's flags, tried with a second driver beside the usual one of a host."""

import json
import os
import signal

import pytest

from ovn_docker_lab import Lab
from ovn_docker_lab.processes import start_time
from tests.guide import DATABASE_KEYS
from tests.integration import records
from tests.integration.plugin import Plugin
from tests.integration.second_driver import Driver
from tests.integration.tenant import Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

JSON = "--header=Content-Type: application/json"


def test_it_listens_on_port_5000_of_all_addresses_and_docker_finds_it(driver: Driver) -> None:
    driver.start()
    assert driver.listening() == {"0.0.0.0:5000"}
    assert driver.read(driver.spec) == "tcp://127.0.0.1:5000\n"


def test_networks_and_containers_work_over_tcp(driver: Driver, tenant: Tenant, lab: Lab) -> None:
    driver.start()
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    listed = tenant.docker(
        "network", "ls", "--filter", f"driver={driver.name}", "--format", "{{.Name}}"
    ).stdout
    assert listed.split() == [foo.name]
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo))
    tenant.remove(one, two)
    tenant.remove_network(foo)
    assert records.left(lab) == []


@pytest.mark.parametrize(
    "options", [(), ("--header=Content-Type: application/json", "--post-data={}"), ("--post-data=",)]
)
def test_its_state_is_shown_with_all_of_the_guide_s_keys(
    driver: Driver, tenant: Tenant, options: tuple[str, ...]
) -> None:
    driver.start()
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    box = tenant.container(foo)
    state = json.loads(driver.fetch("http://0.0.0.0:5000/NetworkDriver.Database", *options))
    assert set(state) >= DATABASE_KEYS
    assert (state["bind_ip"], state["bind_port"]) == ("0.0.0.0", 5000)
    network = state["networks"][foo.id]
    assert network["Subnet"] == "10.21.0.0/24"
    [container] = network["Containers"].values()
    assert container["EndpointID"] == box.endpoint(foo)["EndpointID"]
    assert container["MacAddress"] == box.endpoint(foo)["MacAddress"]


def test_address_and_port_are_taken_from_the_flags(driver: Driver) -> None:
    driver.start("--bind-ip=127.0.0.1", "--bind-port=55000")
    assert driver.listening() == {"127.0.0.1:55000"}
    assert driver.read(driver.spec) == "tcp://127.0.0.1:55000\n"


def test_with_a_unix_socket_no_tcp_port_is_opened(driver: Driver) -> None:
    driver.start(f"--unix-socket=/run/docker/plugins/{driver.name}.sock")
    assert driver.listening() == set()
    assert driver.read(driver.spec) == "", "Docker finds the socket without a file"


def test_with_a_unix_socket_and_a_port_both_are_served(driver: Driver, lab: Lab) -> None:
    driver.start(f"--unix-socket=/run/docker/plugins/{driver.name}.sock", "--bind-port=5001")
    assert driver.listening() == {"0.0.0.0:5001"}
    path = lab.hosts[0].paths.run / "docker" / "plugins" / f"{driver.name}.sock"
    assert Plugin(path).call("Plugin.Activate").ok
    assert "bind_port" in driver.fetch("http://127.0.0.1:5001/NetworkDriver.Database")


def test_a_unix_socket_elsewhere_is_told_to_docker(driver: Driver, tenant: Tenant) -> None:
    driver.start("--unix-socket=/run/second.sock")
    assert driver.read(driver.spec) == "unix:///run/second.sock\n"
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    tenant.remove_network(foo)


def test_a_clean_stop_removes_plugin_file_pidfile_and_socket(driver: Driver) -> None:
    driver.start("--unix-socket=/run/second.sock")
    driver.end()
    for path in (driver.spec, driver.pidfile, "/run/second.sock"):
        assert driver.host.run(["test", "-e", path], check=False).returncode != 0, path


def test_after_a_kill_the_next_start_takes_over_what_was_left(driver: Driver) -> None:
    first = driver.start("--unix-socket=/run/second.sock")
    driver.end(signal.SIGKILL)
    assert driver.pid() == first, "the pidfile was left"
    assert driver.start("--unix-socket=/run/second.sock") != first
    driver.end()
    assert driver.read(driver.spec) == ""


def test_a_plugin_file_that_somebody_changed_stays(driver: Driver) -> None:
    driver.start()
    driver.host.run(["sh", "-c", f"echo tcp://127.0.0.1:1 > {driver.spec}"])
    driver.end()
    assert driver.read(driver.spec) == "tcp://127.0.0.1:1\n"


def test_a_pidfile_in_use_is_refused_unless_it_may_be_overwritten(driver: Driver) -> None:
    first = driver.start("--unix-socket=/run/second.sock")
    flags = ("--detach", f"--pidfile={driver.pidfile}", "--unix-socket=/run/third.sock")
    refused = driver.launch(*flags)
    assert refused.returncode == 1
    assert f"already running as pid {first}" in refused.stderr
    try:
        overwriting = driver.launch(*flags, "--overwrite-pidfile", "--driver-name=another")
        assert overwriting.returncode == 0, overwriting.stderr
        assert driver.pid() not in {0, first}
        driver.end()
    finally:
        os.kill(first, signal.SIGTERM)
        eventually(lambda: start_time(first) is None, 15, "the first has ended")


def test_the_log_file_has_each_verb_with_its_outcome(driver: Driver, tenant: Tenant) -> None:
    driver.start("--log-file=/run/second.log", "-vfile:info")
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    tenant.remove_network(foo)
    log = driver.read("/run/second.log")
    [line] = [line for line in log.splitlines() if "CreateNetwork" in line]
    assert foo.id in line
    assert "outcome=ok" in line
    driver.end()
    driver.host.run(["rm", "/run/second.log"])


def test_a_driver_of_local_scope_makes_local_networks(driver: Driver, tenant: Tenant) -> None:
    driver.start("--docker-driver-scope=local")
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    shown = tenant.docker("network", "inspect", "--format", "{{.Scope}}", foo.name).stdout
    assert shown == "local\n"
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo))


@pytest.mark.parametrize(("flags", "directory"), [((), "/"), (("--no-chdir",), "/tmp")])  # noqa: S108
def test_it_stays_in_its_directory_only_if_told_so(
    driver: Driver, flags: tuple[str, ...], directory: str
) -> None:
    pid = driver.start(*flags)
    assert driver.host.run(["readlink", f"/proc/{pid}/cwd"]).stdout.strip() == directory


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--bind-ip=nonsense",), "nonsense"),
        (("--bind-ip=192.0.2.1",), "192.0.2.1"),
        (("--bind-port=0",), "--bind-port 0"),
        (("--bind-port=70000",), "--bind-port 70000"),
        (("--unix-socket=relative.sock",), "relative.sock"),
        (("--unix-socket=/proc/second.sock",), "/proc/second.sock"),
        (("--pidfile=/proc/second.pid",), "/proc/second.pid"),
        (("--log-file=/proc/second.log",), "/proc/second.log"),
        (("--plugin-dir=/proc/plugins",), "/proc/plugins"),
        (("--driver-name=no/name",), "no/name"),
        (("--docker-driver-scope=galactic",), "galactic"),
        (("-vnonsense",), "nonsense"),
        (("--ovsdb=nonsense",), "nonsense"),
    ],
)
@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_a_flag_that_cannot_be_used_is_named_in_one_line(
    driver: Driver, flags: tuple[str, ...], word: str, detach: tuple[str, ...]
) -> None:
    refused = driver.launch(*detach, *flags)
    assert refused.returncode not in {0, None}
    assert word in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert driver.read(driver.spec) == ""


def test_a_port_in_use_is_named(driver: Driver) -> None:
    driver.start()
    refused = driver.launch("--detach", "--driver-name=third")
    assert refused.returncode == 1
    assert "port 5000" in refused.stderr
    assert "--bind-port" in refused.stderr
