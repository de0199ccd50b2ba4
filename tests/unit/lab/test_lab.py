"""Names, addresses, command lines and the image of a lab, and what is typed after `ovn-docker-lab`."""

import argparse
import tarfile
from pathlib import Path

import pytest

from ovn_docker.cli import main
from ovn_docker.errors import ConfigError, HostError, NotFoundError
from ovn_docker_lab.cli import add_commands
from ovn_docker_lab.daemons import (
    central_daemons,
    external_ids,
    host_daemons,
    outside_daemons,
    underlay_device,
)
from ovn_docker_lab.image import write_image
from ovn_docker_lab.namespace_holder import holder_script, resolv_conf
from ovn_docker_lab.plan import (
    MOST_HOSTS,
    OUTSIDE,
    LabSettings,
    MachinePaths,
    check_name,
    host_names,
    underlay_address,
    underlay_address6,
)
from ovn_docker_lab.requirements import missing_packages

HOST = MachinePaths("mine", "h1", Path("/labs"))
SETTINGS = LabSettings(hosts=2, docker=True, driver=True, datapath="netdev")


@pytest.mark.parametrize(
    ("words", "name", "rest"),
    [
        (["exec", "--name", "a", "h1", "--", "ls", "--name", "x"], "a", ["ls", "--name", "x"]),
        (["docker", "h1", "run", "--rm", "--name", "web"], "lab", ["run", "--rm", "--name", "web"]),
        (["start", "--name", "a", "h1", "dockerd", "--name", "b"], "a", ["--name", "b"]),
    ],
)
def test_flags_after_the_host_belong_to_the_command(words: list[str], name: str, rest: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    arguments = parser.parse_args(words)
    assert (arguments.name, arguments.host) == (name, "h1")
    assert [word for word in arguments.rest if word != "--"] == rest


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "..", "a" * 16, "a\n"])
def test_a_name_that_is_no_part_of_a_path_is_refused(name: str) -> None:
    assert check_name("t123-main") == "t123-main"
    with pytest.raises(ConfigError, match="lab name"):
        check_name(name)


def test_every_machine_has_an_address_of_its_own() -> None:
    machines = ("central", "outside", *host_names(MOST_HOSTS))
    assert len({underlay_address(machine) for machine in machines}) == len(machines)
    assert len({underlay_address6(machine) for machine in machines}) == len(machines)
    assert str(underlay_address6("h2")) == "2001:2::12/64"
    with pytest.raises(ConfigError, match="51 hosts"):
        host_names(MOST_HOSTS + 1)
    for machine in ("", "h0", "h01", "h1 ", "h100"):
        with pytest.raises(NotFoundError, match="no host"):
            underlay_address(machine)


def test_every_daemon_names_the_lab_or_answers_in_it() -> None:
    central, outside = (MachinePaths("mine", name, Path("/labs")) for name in ("central", OUTSIDE))
    hosts, others = host_daemons(HOST, "driver"), (central_daemons(central), outside_daemons(outside))
    for daemon in (*hosts.values(), *(daemon for daemons in others for daemon in daemons.values())):
        assert "/labs/mine/" in " ".join(daemon.command)
        assert daemon.socket.startswith("/labs/mine/")
    assert len(f"{MachinePaths('a' * 15, 'central').run}/openvswitch/ovs-vswitchd.4194304.ctl") < 108


def test_a_host_gets_the_settings_of_the_guide() -> None:
    assert set(external_ids("h2", SETTINGS)) >= {
        'external_ids:ovn-remote="tcp:198.18.0.1:6642"',
        'external_ids:ovn-nb="tcp:198.18.0.1:6641"',
        'external_ids:ovn-encap-ip="198.18.0.12"',
        'external_ids:system-id="h2"',
        'external_ids:ovn-bridge-datapath-type="netdev"',
    }


def test_the_userspace_datapath_moves_only_a_host_s_address_to_a_bridge() -> None:
    assert [underlay_device(name, SETTINGS) for name in ("h1", OUTSIDE)] == ["br-phy", "eth0"]


@pytest.mark.parametrize("forwarding", [False, True])
def test_a_host_forwards_packets_only_when_told_to(forwarding: bool) -> None:  # noqa: FBT001
    script = holder_script(HOST, forwarding=forwarding)
    assert f"echo {int(forwarding)} >/proc/sys/net/ipv4/ip_forward\n" in script
    assert resolv_conf() == "nameserver 198.18.0.2\n"


def test_missing_programs_are_named_as_packages() -> None:
    installed = {"ip", "unshare", "nsenter", "ethtool", "hostname"}
    missing = missing_packages(lambda program: program if program in installed else None, docker=False)
    assert missing == ("openvswitch-common", "openvswitch-switch", "ovn-central", "ovn-host")
    assert "docker.io" in missing_packages(lambda _: None, docker=True)


def test_every_applet_is_a_link_to_busybox_and_busybox_is_the_program(tmp_path: Path) -> None:
    busybox, tar = tmp_path / "program", tmp_path / "image.tar"
    busybox.write_text("#!/bin/sh\nprintf 'busybox\\nsh\\nls\\n'\n")
    busybox.chmod(0o755)
    write_image(busybox, tar, {"bin/also": busybox})
    with tarfile.open(tar) as archive:
        assert archive.getmember("bin/also").size == busybox.stat().st_size
        assert archive.getmember("bin/ls").linkname == "busybox"
        content = archive.extractfile("bin/busybox")
        assert content is not None
        assert content.read() == busybox.read_bytes()
    with pytest.raises(HostError, match="applets"):
        write_image(tmp_path / "none", tar)


def test_ovn_docker_lab_is_named_where_the_lab_was_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["lab", "up"])
    assert "ovn-docker-lab" in capsys.readouterr().err
