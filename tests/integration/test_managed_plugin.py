"""The driver as Docker's managed plugin, built and used, set, upgraded and removed as its users do."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker.cli.managed_plugin import KEPT
from ovn_docker_lab import Lab, Machine
from tests.certificates import Authority
from tests.integration import records
from tests.integration.conftest import lab_name
from tests.integration.managed import (
    DRIVER,
    HEALTH_CHECK,
    MANAGED,
    NAME,
    NO_HEALTH_CHECK,
    OUTPUT,
    REGISTRY,
    Managed,
    another,
    build,
    fingerprint,
    registry,
)
from tests.integration.tenant import Container, Tenant, in_parallel
from tests.integration.test_docs import Shells
from tests.polling import eventually
from tests.unit.test_plugin_settings import CONFIG, ROOT

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LARGEST = 80 * 2**20
"""Bytes, unpacked: 120 MB were asked for."""


@pytest.fixture(scope="module")
def plugin() -> Path:
    """The plugin as a directory; built only if something has changed since the last time."""
    return build(ROOT, OUTPUT)


@pytest.fixture(scope="module")
def lab(plugin: Path, _no_labs_of_dead_runs: None) -> Iterator[Lab]:
    """Two hosts on which the plugin is the only driver."""
    shared = Lab.up(lab_name("managed"), 2, driver=False)
    try:
        in_parallel(*(lambda host=host: Managed(host).create(plugin) for host in shared.hosts))
        yield shared
    finally:
        shared.down()


@pytest.fixture
def managed(tenant: Tenant) -> Managed:
    """The plugin on the first host."""
    return Managed(tenant.host)


def is_up(box: Container) -> bool:
    return box.run("true", check=False).returncode == 0


# --- What is built ------------------------------------------------------------------------------------------


def test_it_is_small_and_has_no_program_but_python(plugin: Path) -> None:
    files = [path for path in plugin.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    programs = [path.name for path in (plugin / "rootfs/usr/bin").iterdir()]
    assert [name for name in programs if not name.startswith("python3")] == []
    privileged = [path for path in plugin.rglob("*") if path.lstat().st_mode & 0o6000]
    assert privileged == []


def test_every_package_in_it_keeps_its_copyright_file(plugin: Path) -> None:
    names = [line.split()[0] for line in (plugin.parent / "packages").read_text().splitlines()]
    assert len(names) > 5
    copyrights = plugin / "rootfs/usr/share/doc"
    assert [name for name in names if not (copyrights / name / "copyright").exists()] == []


@pytest.mark.slow
def test_another_build_in_another_place_gives_the_same_to_the_byte(plugin: Path, tmp_path: Path) -> None:
    clone = tmp_path / "elsewhere"
    ignored = (ROOT / ".gitignore").read_text().replace("/\n", "\n").split()
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns(*ignored, ".git"))
    again = build(clone, tmp_path / "output", TZ="Asia/Tokyo", LC_ALL="C")
    assert fingerprint(again) == fingerprint(plugin)


# --- What it does -------------------------------------------------------------------------------------------


def test_hosts_share_a_network_and_its_addresses(tenant: Tenant, other: Tenant, lab: Lab) -> None:
    near, far = (user.network("10.61.0.0/24", *MANAGED) for user in (tenant, other))
    one, two = tenant.container(near), other.container(far)
    one.reaches(two.address(far))
    two.reaches(one.address(near))
    assert sorted(records.leases(lab.central)) == sorted([one.address(near), two.address(far)])


def test_dockers_own_addresses_will_do(tenant: Tenant) -> None:
    foo = tenant.network("10.61.1.0/24", "--driver", DRIVER)
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo)), "the first packet arrives"


def test_docker_wants_the_tag_in_the_name(tenant: Tenant) -> None:
    refused = tenant.docker("network", "create", "--driver", NAME, "untagged", check=False)
    assert "could not resolve driver ovn in registry" in refused.stderr


def test_containers_go_on_while_it_is_set_anew(tenant: Tenant, managed: Managed, lab: Lab) -> None:
    foo = tenant.network("10.61.2.0/24", *MANAGED)
    one, two = tenant.container(foo), tenant.container(foo)
    assert "is in use" in managed.plugin("disable", NAME, check=False)
    managed.plugin("disable", "--force", NAME)
    assert one.pings(two.address(foo))
    managed.plugin("set", NAME, *HEALTH_CHECK, "BIND_IP=127.0.0.1")
    managed.plugin("enable", NAME)
    assert one.pings(two.address(foo))
    three = tenant.container(foo)
    three.reaches(one.address(foo))
    eventually(lambda: _named(lab) == {one.name, two.name, three.name}, 20, "the ports have names")
    assert "ovn_docker_" in tenant.host.run(["curl", "-s", "http://127.0.0.1:5000/metrics"]).stdout
    tenant.clear()
    assert records.left(lab) == []
    managed.set(*NO_HEALTH_CHECK, "BIND_IP=")


def _named(lab: Lab) -> set[str | None]:
    return {records.marks(port).get("ovn-docker-name") for port in records.rows(lab.central, records.PORT)}


def test_dockerd_starts_it_again_when_it_is_killed(tenant: Tenant, managed: Managed) -> None:
    foo = tenant.network("10.61.4.0/24", *MANAGED)
    one = tenant.container(foo)
    managed.kill()
    two = tenant.container(foo)
    two.reaches(one.address(foo))


def test_it_comes_back_with_dockerd_and_with_the_host(tenant: Tenant, managed: Managed, lab: Lab) -> None:
    foo = tenant.network("10.61.5.0/24", *MANAGED)
    stays = ("--restart=always", "--stop-signal=KILL")
    one, two = tenant.container(foo, *stays), tenant.container(foo, *stays)
    tenant.host.stop("dockerd")
    tenant.host.start("dockerd")
    for box in (one, two):
        eventually(lambda: is_up(box), 30, f"{box.name} is up again")  # noqa: B023
    one.reaches(two.address(foo))
    tenant.host.reboot()
    for box in (one, two):
        eventually(lambda: is_up(box), 60, f"{box.name} is up after the reboot")  # noqa: B023
    one.reaches(two.address(foo))
    assert managed.inspect()["Enabled"]
    tenant.docker("rm", "--force", one.name, two.name)
    _forget_what_the_power_cut_left(managed, lab)


def _forget_what_the_power_cut_left(managed: Managed, lab: Lab) -> None:
    """Ports of before are the health check's."""
    managed.set(*HEALTH_CHECK, force=True)
    eventually(lambda: not records.rows(lab.central, records.PORT), 60, "no port is left")
    eventually(lambda: not records.leases(lab.central), 60, "no lease is left")
    managed.set(*NO_HEALTH_CHECK, force=True)


def test_it_reaches_ovn_by_tls_with_the_files_of_the_mount(tenant: Tenant, lab: Lab, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    central, host = authority.issue("central"), authority.issue("h1")
    etc = tenant.host.paths.etc / "openvswitch"
    for file in (host.key, host.certificate, authority.certificate):
        shutil.copy(file, etc)
    files = [f"/etc/openvswitch/{file.name}" for file in (host.key, host.certificate, authority.certificate)]
    own = [str(file) for file in (central.key, central.certificate, authority.certificate)]
    lab.central.run(["ovn-nbctl", "set-ssl", *own, "--", "set-connection", "ptcp:6641", "pssl:6643"])
    tenant.host.run(["ovs-vsctl", "set-ssl", *files])
    try:
        _northbound_at(tenant.host, f"ssl:{lab.central.address}:6643")
        foo = tenant.network("10.61.8.0/24", *MANAGED)
        assert tenant.container(foo).pings(tenant.container(foo).address(foo))
        tenant.clear()
    finally:
        _northbound_at(tenant.host, f"tcp:{lab.central.address}:6641")
        lab.central.run(["ovn-nbctl", "del-ssl", "--", "set-connection", "ptcp:6641"])
        tenant.host.run(["ovs-vsctl", "del-ssl"])


def _northbound_at(host: Machine, remote: str) -> None:
    """Say where Northbound is, and wait until the plugin is there."""
    managed = Managed(host)
    before = len(managed.log())
    host.run(["ovs-vsctl", "set", "Open_vSwitch", ".", f'external_ids:ovn-nb="{remote}"'])
    line = f"OVN Northbound is served by {remote}"
    eventually(lambda: line in managed.log()[before:], 20, f"the plugin is at {remote}")


# --- What it may --------------------------------------------------------------------------------------------


def test_it_has_three_capabilities_and_the_documented_mounts(managed: Managed) -> None:
    process = Path(f"/proc/{managed.pid}")
    lines = (process / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == sum(1 << number for number in KEPT)
    assert status["NoNewPrivs"] == "1"
    fields = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    mounts = {field[4]: field[5] for field in fields}
    dockers = {"/run/docker/plugins", "/etc/hosts", "/etc/resolv.conf"}
    own = {path for path in mounts if not path.startswith(("/proc", "/sys", "/dev")) and path != "/"}
    assert own == {mount["destination"] for mount in CONFIG["mounts"]} | dockers
    assert mounts["/etc/openvswitch"].startswith("ro,")
    assert (process / "root/run/docker.sock").is_char_device(), "that is /dev/null"


def test_its_log_is_in_dockerds_errors_apart(managed: Managed) -> None:
    lines = managed.log().splitlines()
    assert any("level=info" in line and "|INFO|ovn-docker " in line for line in lines)
    assert [line for line in lines if "Traceback" in line] == []
    assert [line for line in lines if "level=error" in line and "|INFO|" in line] == []


# --- How it goes --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_upgrade_leaves_containers_running(other: Tenant, plugin: Path, lab: Lab, tmp_path: Path) -> None:
    managed, remote = Managed(other.host), f"{REGISTRY}/ovn:2"
    with registry(other.host, tmp_path):
        managed.plugin("create", remote, str(another(plugin, tmp_path)))
        managed.plugin("push", remote)
        managed.plugin("rm", remote)
        foo = other.network("10.61.6.0/24", *MANAGED)
        one, two = other.container(foo), other.container(foo)
        managed.plugin("disable", "--force", NAME)
        managed.plugin("set", NAME, "VERBOSE=dbg", "docker.source=/run/docker.sock")
        upgrade = ("upgrade", "--skip-remote-check", "--grant-all-permissions")
        managed.plugin(*upgrade, NAME, remote)
        assert one.pings(two.address(foo))
        managed.plugin("enable", NAME)
        assert managed.inspect()["Config"]["Description"] == "A later release"
        assert "VERBOSE=dbg" in managed.inspect()["Settings"]["Env"], "settings outlive it"
        socket = Path(f"/proc/{managed.pid}/root/run/docker.sock")
        assert socket.is_char_device(), "sources of mounts do not, as the how-to says"
        other.container(foo).reaches(one.address(foo))
        other.clear()
        assert records.left(lab) == []
        managed.remove()
        install = ("install", "--alias", NAME, "--grant-all-permissions")
        managed.plugin(*install, remote, "DOCKER_DRIVER_SCOPE=local")
        bar = other.network("10.61.7.0/24", *MANAGED)
        other.container(bar).reaches(other.container(bar).address(bar))


def test_nothing_is_left_of_it(lab: Lab) -> None:
    for host in lab.hosts:
        managed = Managed(host)
        pid = managed.pid
        assert pid
        managed.remove()
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 20, "its process is gone")  # noqa: B023
        assert [path for path in (host.paths.docker_data / "plugins").iterdir() if len(path.name) == 64] == []
    assert records.left(lab) == []


def test_the_how_to_is_true(lab: Lab, tmp_path: Path) -> None:
    variables = {"h1": {"RELEASE": str(OUTPUT), "DOCKER_HOST": "unix:///run/docker.sock"}}
    Shells(tmp_path, variables).play("how-to/plugin.md", lab, lab.settings.datapath)
    eventually(lambda: records.left(lab) == [], 20, "nothing is left")
