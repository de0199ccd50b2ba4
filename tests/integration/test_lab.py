"""Labs come up, carry traffic between hosts, and leave nothing behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker.errors import ConfigError, ConflictError, HostError, NotFoundError
from ovn_docker_lab import Lab, Machine, down
from ovn_docker_lab.daemons import UNDERLAY_BRIDGE
from ovn_docker_lab.plan import BASE, WORLD
from ovn_docker_lab.processes import send, start_time
from ovn_docker_lab.teardown import lab_processes
from tests.integration.conftest import lab_name
from tests.integration.probing import GLIBC, MUSL, PROBE_IMAGE, build, import_probe, write_probe_image
from tests.polling import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def plain() -> Iterator[Lab]:
    """Two hosts without Docker, one logical switch over them and a box on each, plugged by hand."""
    made = Lab.up(lab_name("plain"), 2, docker=False)
    try:
        made.central.run(["ovn-nbctl", "ls-add", "net"])
        for number, host in enumerate(made.hosts, start=1):
            plug_box(made, host, f"10.1.0.{number}")
        yield made
    finally:
        made.down()


def plug_box(lab: Lab, host: Machine, address: str) -> None:
    """Make a network namespace on a host, with an address on the logical switch."""
    port, mac = f"box-{host.name}", f"02:00:00:00:00:0{host.name[1:]}"
    add = ["ovn-nbctl", "lsp-add", "net", port, "--", "lsp-set-addresses", port, f"{mac} {address}"]
    lab.central.run(add)
    for command in (
        "ip netns add box",
        f"ip link add veth-box type veth peer name inside address {mac} netns box",
        "ip link set veth-box up",
        "ip netns exec box ethtool -K inside tx off",
        f"ip -n box addr add {address}/24 dev inside",
        "ip -n box link set inside mtu 1400 up",
        f"ovs-vsctl add-port br-int veth-box -- set Interface veth-box external_ids:iface-id={port}",
    ):
        host.run(command.split())
    eventually(lambda: is_installed(host), 10, f"flows of {port} are installed")


def is_installed(host: Machine) -> bool:
    interface = host.run(["ovs-vsctl", "get", "Interface", "veth-box", "external_ids"]).stdout
    return 'ovn-installed="true"' in interface


def in_box(host: Machine, command: str) -> subprocess.CompletedProcess[str]:
    return host.run(["ip", "netns", "exec", "box", "busybox", *command.split()], check=False)


def test_packets_and_a_megabyte_over_tcp_cross_hosts_whole(plain: Lab) -> None:
    first, second = plain.hosts
    assert in_box(first, "ping -c 3 -W 2 10.1.0.2").returncode == 0
    (second.paths.directory / "blob").write_bytes(bytes(range(256)) * 4096)
    in_box(second, f"httpd -p 80 -h {second.paths.directory}")
    copy = first.paths.directory / "copy"
    fetched = in_box(first, f"timeout 10 busybox wget -O {copy} http://10.1.0.2/blob")
    assert fetched.returncode == 0, fetched.stderr
    assert copy.read_bytes() == (second.paths.directory / "blob").read_bytes()


def test_every_daemon_of_a_host_can_be_killed_and_started_alone(plain: Lab) -> None:
    host = plain.hosts[1]
    for daemon in ("ovn-controller", "ovs-vswitchd", "ovsdb-server"):
        host.kill(daemon)
        assert not host.running(daemon)
        host.start(daemon)
        assert host.running(daemon)
    eventually(lambda: in_box(host, "ping -c 1 -W 1 10.1.0.1").returncode == 0, 20, "ping works again")


def test_the_underlay_gets_its_address_once_ovs_vswitchd_is_configured(plain: Lab) -> None:
    host = plain.hosts[0]
    if plain.settings.datapath != "netdev":
        pytest.skip("the underlay is not a bridge of Open vSwitch")

    def configured_by() -> str:
        started = ["ovs-vsctl", "get", "Bridge", UNDERLAY_BRIDGE, "external_ids:lab-started"]
        return host.run(started).stdout.strip().strip('"')

    first = host.pid("ovs-vswitchd")
    assert configured_by() == str(first)
    host.kill("ovs-vswitchd")
    host.start("ovs-vswitchd")
    assert configured_by() == str(host.pid("ovs-vswitchd")) != str(first)
    done = host.run(["ovs-vsctl", "get", "Open_vSwitch", ".", "cur_cfg", "next_cfg"])
    applied, requested = map(int, done.stdout.split())
    assert applied == requested > 0
    assert f"dev {UNDERLAY_BRIDGE} " in host.run(["ip", "route"]).stdout


def test_what_cannot_be_done_is_refused_in_words(plain: Lab) -> None:
    with pytest.raises(ConflictError, match="nb on central runs already"):
        plain.central.start("nb")
    with pytest.raises(ConflictError, match="exists already"):
        Lab.up(plain.name, 1, docker=False)
    with pytest.raises(NotFoundError, match="no host 'h3'"):
        plain.machine("h3")
    with pytest.raises(HostError, match=r"h1 of lab .* has no Docker"):
        plain.hosts[0].docker("ps")
    with pytest.raises(ConfigError, match="cut it off"):
        plain.central.reboot()
    assert plain.central.running("nb")


def test_a_daemon_that_fails_to_start_is_named_with_its_log(plain: Lab) -> None:
    host = plain.hosts[0]
    host.stop("ovn-controller")
    with pytest.raises(HostError, match="ovn-controller on h1 ended") as raised:
        host.start("ovn-controller", ["--no-such-flag"])
    host.start("ovn-controller")
    assert "no-such-flag" in "".join(raised.value.__notes__)


def test_a_host_holds_no_network_namespace_of_others() -> None:
    name = lab_name("holds")
    lab = " ".join(command_line())
    script = f"""
        ip netns add other-{name}
        {lab} up --name {name} --hosts 1 --no-docker >&2
        {lab} exec --name {name} h1 -- cat /proc/self/mountinfo
        {lab} down --name {name} >&2
        ip netns delete other-{name}
    """
    # The mounts of `ip netns` go with this mount namespace.
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(private, capture_output=True, text=True, check=False, timeout=50)
    assert f"{name}/h1/" in done.stdout, done.stderr
    assert f"netns/other-{name} " not in done.stdout
    assert_nothing_left(name)


def test_down_leaves_nothing_but_a_process_that_reads_a_log() -> None:
    made = Lab.up(lab_name("killed"), 1, driver=False)
    log = made.hosts[0].paths.log("ovs-vswitchd")
    with subprocess.Popen(["tail", "-f", log], stdout=subprocess.DEVNULL) as tail:
        try:
            made.hosts[0].docker("run", "--detach", "busybox", "sleep", "1000")
            made.hosts[0].docker("run", "--detach", "--network", "host", "busybox", "sleep", "1000")
            kill_all_but_containers(made)
            assert lab_processes(made.directory), "the containers outlive their dockerd"
        finally:
            made.down()
            assert start_time(tail.pid) is not None
            tail.kill()
    assert_nothing_left(made.name)


def kill_all_but_containers(lab: Lab) -> None:
    def others_ended() -> bool:
        others = [
            process
            for process in lab_processes(lab.directory)
            if Path(f"/proc/{process.pid}/cmdline").read_bytes() != b"sleep\0" + b"1000\0"
        ]
        for process in others:
            send(process, signal.SIGKILL)
        return not others

    eventually(others_ended, 10, "all but the containers are killed")


def test_down_leaves_nothing_of_a_lab_whose_making_was_killed() -> None:
    name = lab_name("half")
    directory = BASE / name
    maker = subprocess.Popen(command_line("up", "--name", name, "--no-driver"), stdout=subprocess.DEVNULL)
    try:
        eventually((directory / "h1" / "pids" / "ovsdb-server").exists, 20, "the lab is incomplete")
    finally:
        maker.kill()
        maker.wait(10)
        assert down(name)
    assert_nothing_left(name)
    assert "nothing" in run_command("down", "--name", name).stdout


@pytest.fixture(scope="module")
def docked() -> Iterator[Lab]:
    """Two hosts with Docker, whose faults harm no other test."""
    made = Lab.up(lab_name("docked"), 2, driver=False)
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def boxes(docked: Lab) -> Iterator[Machine]:
    """A host with a container that comes up with its dockerd, and one that does not."""
    host = docked.hosts[0]
    for name, policy in (("stays", "always"), ("goes", "no")):
        command = ("--restart", policy, "--stop-signal=KILL", "--name", name, "busybox", "sleep", "1000")
        host.docker("run", "--detach", *command)
    yield host
    host.docker("rm", "--force", "stays", "goes")


@pytest.fixture(scope="module")
def plain_network(docked: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of Docker's own on a host with the image of the probe."""
    host = docked.hosts[0]
    import_probe(host, write_probe_image(build(tmp_path_factory.mktemp("probe"))))
    host.docker("network", "create", "plain")
    return "plain"


def in_probe(lab: Lab, network: str, command: str) -> str:
    run = ("run", "--rm", "--network", network, PROBE_IMAGE)
    return lab.hosts[0].docker(*run, "sh", "-c", command).stdout


@pytest.mark.parametrize("lookup", [MUSL, GLIBC, "busybox nslookup", "busybox ping -c1 -4"])
def test_a_container_asks_the_machine_outside_for_names(docked: Lab, plain_network: str, lookup: str) -> None:
    assert str(WORLD[0]) in in_probe(docked, plain_network, f"{lookup} example.test")


def test_the_machine_outside_sees_a_host_in_place_of_its_containers(docked: Lab, plain_network: str) -> None:
    host = docked.hosts[0]
    http, udp = (f"probe {kind} {WORLD[0]}" for kind in ("tcp", "udp"))
    saw = in_probe(docked, plain_network, f"{udp} 7 | head -n 1; {http} 80").splitlines()
    assert [line.split()[0] for line in saw] == [str(host.address)] * 2


def test_the_machine_outside_answers_over_ipv6_and_logs_who_asks(docked: Lab) -> None:
    host = docked.hosts[1]
    wget = ["busybox", "timeout", "5", "busybox", "wget", "-qO-", f"http://[{WORLD[1]}]/from-h2"]
    assert host.run(wget).stdout == f"{host.address6}\n"
    assert f"http {host.address6} /from-h2" in docked.outside.log("services").splitlines()


def test_docker_finds_forwarding_off_so_that_its_policy_is_to_drop(docked: Lab) -> None:
    for host in docked.hosts:
        assert host.run(["iptables", "-S", "FORWARD"]).stdout.startswith("-P FORWARD DROP\n")


def test_a_lab_may_forward_from_the_start_so_that_docker_changes_no_policy() -> None:
    made = Lab.up(lab_name("forwards"), 1, driver=False, forwarding=True)
    try:
        policy = made.hosts[0].run(["iptables", "-S", "FORWARD"]).stdout
        forwarding = made.central.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout
    finally:
        made.down()
    assert policy.startswith("-P FORWARD ACCEPT\n")
    assert forwarding == "0\n"


def running_boxes(host: Machine) -> list[str]:
    return sorted(host.docker("ps", "--format", "{{.Names}}").stdout.split())


def reaches(host: Machine, other: Machine) -> bool:
    ping = ["busybox", "ping", "-c", "1", "-W", "1", str(other.address)]
    return host.run(ping, check=False).returncode == 0


def test_a_killed_dockerd_starts_at_once_and_ends_what_ran(boxes: Machine) -> None:
    boxes.kill("dockerd")
    started = time.monotonic()
    boxes.start_again("dockerd")
    assert time.monotonic() - started < 8, "it waits 10 s for a containerd that it takes for alive"
    eventually(lambda: running_boxes(boxes) == ["stays"], 10, "only one box comes up again")


def test_a_reboot_keeps_what_is_on_disk_and_nothing_else(boxes: Machine, docked: Lab) -> None:
    disk = {
        boxes.paths.etc / "docker" / "kept": "etc",
        boxes.paths.state / "kept": "state",
    }
    for file, text in disk.items():
        file.write_text(text)
    (boxes.paths.run / "lost").write_text("run")
    boxes.run(["ip", "link", "add", "lost", "type", "veth"])
    boxes.run(["ovs-vsctl", "--may-exist", "add-br", "kept"])
    before = lab_processes(boxes.paths.directory)
    boxes.reboot()
    assert not set(before) & set(lab_processes(boxes.paths.directory))
    assert {file: file.read_text() for file in disk} == disk
    assert not (boxes.paths.run / "lost").exists()
    assert "lost" not in boxes.run(["ip", "link"]).stdout
    boxes.run(["ovs-vsctl", "br-exists", "kept"])
    assert all(boxes.running(daemon) for daemon in boxes.daemons)
    assert "stays" in running_boxes(boxes)
    assert all(reaches(boxes, other) for other in (docked.hosts[1], docked.central, docked.outside))
    policy = boxes.run(["iptables", "-S", "FORWARD"]).stdout
    assert policy.startswith("-P FORWARD DROP\n"), "it forwards nothing by itself after a boot too"


def test_a_machine_that_is_cut_off_reaches_nobody_until_repaired(docked: Lab) -> None:
    first, second = docked.hosts
    second.cut_off()
    assert not reaches(first, second)
    assert not reaches(second, docked.central)
    assert reaches(first, docked.central)
    second.repair()
    eventually(lambda: reaches(second, first), 5, "the host is reached again")
    docked.central.cut_off()
    assert not reaches(first, docked.central)
    assert reaches(first, second)
    docked.central.reconnect()
    eventually(lambda: reaches(first, docked.central), 5, "the central is reached again")


def test_faults_are_commands_too(docked: Lab) -> None:
    host, name = docked.hosts[1], ("--name", docked.name)
    assert run_command("exec", *name, "h2", "--", "hostname").stdout == "h2\n"
    assert run_command("kill", *name, "h2", "dockerd").returncode == 0
    assert not host.running("dockerd")
    assert run_command("start", *name, "h2", "dockerd", "--live-restore").returncode == 0
    assert host.docker("info", "--format", "{{.LiveRestoreEnabled}}").stdout == "true\n"
    assert run_command("cut", *name, "h2").returncode == 0
    assert run_command("kill", *name, "h2", "ovn-controller").returncode == 0
    assert run_command("repair", *name, "h2").returncode == 0
    assert host.running("ovn-controller")
    eventually(lambda: reaches(host, docked.central), 5, "the host is plugged in again")
    assert run_command("reboot", *name, "h2").returncode == 0
    assert host.docker("info", "--format", "{{.LiveRestoreEnabled}}").stdout == "true\n"
    assert run_command("reboot", *name, "outside").returncode == 0
    assert reaches(host, docked.outside)
    assert docked.outside.running("services")
    refused = run_command("reboot", *name, "central")
    assert (refused.returncode, "cannot be switched off" in refused.stderr) == (1, True)


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ovn_docker_lab", *arguments]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command_line(*arguments), capture_output=True, text=True, check=False, timeout=50)


def assert_nothing_left(name: str) -> None:
    """Look for the lab's name everywhere, without the lab's own eyes."""
    assert not (BASE / name).exists()
    assert [process for process in Path("/proc").glob("[0-9]*") if mentions(process, name)] == []
    assert name not in Path("/proc/self/mountinfo").read_text()
    assert [str(cgroup) for cgroup in Path("/sys/fs/cgroup").glob(f"**/{name}")] == []
    for listing in (["ip", "-o", "link"], ["ip", "netns"]):
        assert name not in subprocess.run(listing, capture_output=True, text=True, check=True).stdout


def mentions(process: Path, name: str) -> bool:
    try:
        return any(f"/{name}/" in (process / file).read_text() for file in ("mountinfo", "cgroup", "cmdline"))
    except OSError:
        return False
