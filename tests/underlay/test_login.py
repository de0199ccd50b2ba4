"""Every way to log in, a token that expires, secrets that stay secret, and what Neutron refuses."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.polling import eventually
from tests.underlay import docker_requests
from tests.underlay.clouds import Cloud
from tests.underlay.docker_requests import new_id
from tests.underlay.machines import PROGRAM, VirtualMachine, installed

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(180)]


def works_with(vm: VirtualMachine, environment: dict[str, str]) -> None:
    """Whether a driver that is given this serves Docker."""
    vm.stop_driver()
    vm.start_driver(environment=environment)
    network_id = new_id()
    answer = vm.plugin.call("CreateNetwork", docker_requests.network(network_id))
    assert answer.ok, answer.error
    assert vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).ok


def test_the_guides_openrc_with_its_old_names_works_and_so_do_the_new(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    old = vm.environment(cloud.demo)
    assert old["OS_AUTH_URL"].endswith("/v2.0")
    works_with(vm, old)
    by_id = {key: value for key, value in old.items() if key != "OS_TENANT_NAME"}
    works_with(vm, {**by_id, "OS_TENANT_ID": cloud.demo.login()[2]})
    new = {
        "OS_AUTH_URL": cloud.openstack.auth_url,
        "OS_PROJECT_NAME": "demo",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "RegionOne",
        "OS_INTERFACE": "public",
        **{key: old[key] for key in ("OS_USERNAME", "OS_PASSWORD", "OS_VIF_ID")},
    }
    works_with(vm, new)


def test_clouds_yaml_an_application_credential_and_a_token_work(
    cloud: Cloud, vm: VirtualMachine, tmp_path: Path
) -> None:
    token, user, project = cloud.demo.login()
    made = cloud.demo.call(
        "identity",
        "POST",
        f"/users/{user}/application_credentials",
        {"application_credential": {"name": new_id()}},
    )["application_credential"]
    common = {"OS_AUTH_URL": cloud.openstack.auth_url, "OS_VIF_ID": vm.vif["id"]}
    works_with(
        vm,
        {
            **common,
            "OS_AUTH_TYPE": "v3applicationcredential",
            "OS_APPLICATION_CREDENTIAL_ID": made["id"],
            "OS_APPLICATION_CREDENTIAL_SECRET": made["secret"],
        },
    )
    works_with(vm, {**common, "OS_TOKEN": token, "OS_PROJECT_ID": project})
    file = tmp_path / "clouds.yaml"
    file.write_text(
        f"clouds:\n  tests:\n    auth:\n      auth_url: {cloud.openstack.auth_url}\n"
        "      username: demo\n      project_name: demo\n      user_domain_id: default\n"
        "      project_domain_id: default\n    region_name: RegionOne\n"
    )
    (tmp_path / "secure.yaml").write_text("clouds: {tests: {auth: {password: demo-secret}}}\n")
    works_with(vm, {"OS_CLOUD": "tests", "OS_CLIENT_CONFIG_FILE": str(file), "OS_VIF_ID": vm.vif["id"]})


def test_an_expired_token_is_renewed_without_an_error(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id = new_id()
    assert vm.plugin.call("CreateNetwork", docker_requests.network(network_id)).ok
    cloud.openstack.renew_keys()
    answer = vm.plugin.call("DeleteNetwork", {"NetworkID": network_id})
    assert answer.ok, answer.error


def test_the_password_is_nowhere_to_be_read(cloud: Cloud, vm: VirtualMachine) -> None:
    vm.stop_driver()
    vm.start_driver("-v")  # everything is logged
    assert vm.plugin.call("CreateNetwork", docker_requests.network(network_id := new_id())).ok
    assert vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).ok
    shown = str(vm.plugin.call("Database").body)
    assert vm.vif["id"] in shown
    command = Path("/proc", str(vm.driver.pid), "cmdline").read_text()
    token = cloud.demo.login()[0]
    for text in (shown, command, vm.log.read_text()):
        assert cloud.demo.password not in text
        assert "X-Auth-Token" not in text
        assert token[:8] not in text  # Keystone's tokens begin alike


def test_without_a_password_a_terminal_is_asked_and_detach_is_refused(cloud: Cloud) -> None:
    vm = cloud.machines[0]
    environment = vm.host.environment() | vm.environment(cloud.demo)
    del environment["OS_PASSWORD"]
    command = vm.host.enter([str(installed()), "--detach", "--unix-socket=/run/other.sock"])
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"{PROGRAM}: no password is given and there is no terminal to ask for it: set OS_PASSWORD,"
        " or use an application credential\n"
    )
    controller, its = pty.openpty()
    process = subprocess.Popen(
        vm.host.enter([str(installed()), "--unix-socket=/run/other.sock"]),
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    try:
        asked = ""
        while "password" not in asked:
            asked += os.read(controller, 100).decode()
        os.write(controller, b"demo-secret\n")
        eventually((vm.host.paths.run / "other.sock").exists, 20, "it listens")
    finally:
        process.terminate()
        process.wait(20)
        os.close(controller)
        os.close(its)


def test_what_neutron_refuses_reaches_the_user_in_its_words(cloud: Cloud, vm: VirtualMachine) -> None:
    project = cloud.demo.login()[2]
    vm.create_network("tight", "--subnet=10.50.0.0/24")
    used = len(cloud.demo.list("ports"))
    cloud.operator.call("network", "PUT", f"/v2.0/quotas/{project}", {"quota": {"port": used}})
    try:
        said = vm.refused("run", "--rm", "--network=tight", "busybox", "true")
    finally:
        cloud.operator.call("network", "DELETE", f"/v2.0/quotas/{project}")
    assert "Neutron refused: Quota exceeded for resources: ['port']." in said
    [subnet] = cloud.demo.list("subnets", cidr="10.50.0.0/24")
    taken = cloud.demo.create(
        "ports",
        network_id=subnet["network_id"],
        fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.50.0.2"}],
    )
    said = vm.refused("run", "--rm", "--network=tight", "busybox", "true")
    assert "IP address 10.50.0.2 already allocated" in said
    cloud.demo.delete("ports", taken["id"])
    said = vm.create_network("x", "--subnet=10.51.0.0/24", "-o", "neutron.network=nowhere", check=False)
    assert "Neutron has no network 'nowhere' that this project sees" in said
