"""What systemd-networkd is told when an interface's addresses move to a bridge."""

from pathlib import Path

import pytest

from ovn_docker.errors import HostError
from ovn_docker.host.uplinks import MADE, Networkd, files

TOLD = """\
# netplan's
[Match]
PermanentMACAddress=fa:16:3e:00:00:01
Name=ens3

[Network]
DHCP=ipv4
DNS=10.0.0.2

[DHCP]
UseMTU=true
"""


def test_the_bridge_is_told_what_the_interface_was_and_the_interface_nothing() -> None:
    made = files([TOLD, "[Match]\nName=x\n[Route]\nGateway=10.0.0.1\n"], "ens3", "breth0", 1442)
    bridge, uplink = made["05-ovn-docker-breth0.network"], made["05-ovn-docker-ens3.network"]
    assert bridge == (
        f"{MADE}\n[Match]\nName=breth0\n\n# netplan's\n"
        "[Network]\nDHCP=ipv4\nDNS=10.0.0.2\n\n[DHCP]\nUseMTU=true\n"
        "[Route]\nGateway=10.0.0.1\n"
    )
    assert "[Match]\nName=ens3\n" in uplink
    assert "MTUBytes=1442" in uplink
    assert "DHCP" not in uplink


def test_a_match_at_the_end_goes_too() -> None:
    made = files(["[Network]\nDHCP=yes\n[Match]\nName=ens3"], "ens3", "breth0", 1500)
    assert made["05-ovn-docker-breth0.network"].count("[Match]") == 1


@pytest.fixture
def networkd(tmp_path: Path) -> Networkd:
    """One that manages link 7."""
    (tmp_path / "run").mkdir()
    (tmp_path / "ens3.network").write_text(TOLD)
    (tmp_path / "more.conf").write_text("[Network]\nDomains=example\n")
    (tmp_path / "run" / "7").write_text(
        f'# private\nNETWORK_FILE={tmp_path}/ens3.network\nNETWORK_FILE_DROPINS="{tmp_path}/more.conf"\n'
    )
    (tmp_path / "run" / "8").write_text("ADMIN_STATE=unmanaged\n")
    return Networkd(tmp_path / "run", tmp_path / "etc")


def test_files_are_written_once_and_removed(networkd: Networkd, tmp_path: Path) -> None:
    networkd.keep(7, "ens3", "breth0", 1442)
    bridge = tmp_path / "etc" / "05-ovn-docker-breth0.network"
    assert "Domains=example" in bridge.read_text()
    assert networkd.kept("breth0")
    bridge.write_text("mine now")
    networkd.keep(7, "ens3", "breth0", 1442)
    assert bridge.read_text() == "mine now"
    for _ in range(2):
        networkd.forget("ens3", "breth0")
        assert list((tmp_path / "etc").iterdir()) == []


@pytest.mark.parametrize("index", [8, 9])
def test_an_interface_that_it_does_not_manage_cannot_be_kept(networkd: Networkd, index: int) -> None:
    with pytest.raises(HostError, match="systemd-networkd does not manage ens3"):
        networkd.keep(index, "ens3", "breth0", 1442)
