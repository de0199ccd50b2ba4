"""The systemd units: what starts before what, so that dockerd finds the driver and nothing waits for OVN."""

import configparser
import shlex
from pathlib import Path

import pytest

from ovn_docker.libnetwork.server import DEADLINE
from ovn_docker.settings import Program
from tests.flags import settings_of

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
OVERLAY = UNITS / "ovn-docker-overlay-driver.service"
UNDERLAY = UNITS / "ovn-docker-underlay-driver.service"
DATABASE = "ovn-docker-database@{}"


def unit(path: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(path.read_text())
    return parsed


def names(path: Path, key: str) -> set[str]:
    return set(unit(path)["Unit"].get(key, "").split())


def test_the_driver_starts_before_docker_and_after_open_vswitch_and_ovn() -> None:
    assert names(OVERLAY, "Before") == {"docker.service"}
    assert names(OVERLAY, "After") >= {"openvswitch-switch.service", "ovn-host.service"}


def test_the_underlay_s_driver_starts_after_the_network_and_before_docker() -> None:
    assert names(UNDERLAY, "Before") == {"docker.service"}
    assert names(UNDERLAY, "After") == {"openvswitch-switch.service", "network-online.target"}
    assert names(UNDERLAY, "After") <= names(UNDERLAY, "Wants")
    assert names(UNDERLAY, "Conflicts") == {OVERLAY.name}


def test_the_underlay_s_driver_is_confined_as_the_overlay_s_is() -> None:
    own = {"ExecStart", "EnvironmentFile", "BindReadOnlyPaths"}
    overlay, underlay = (dict(unit(path)["Service"]) for path in (OVERLAY, UNDERLAY))
    assert {**underlay, **dict.fromkeys(own)} == {**overlay, **dict.fromkeys(own)}


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_no_unit_of_ovn_or_docker_takes_the_driver_down_with_it(path: Path) -> None:
    for key in ("Requires", "Requisite", "BindsTo", "PartOf", "Upholds"):
        assert names(path, key) <= {DATABASE.format("%i.socket")}, key


@pytest.mark.parametrize("database", ["ovnnb_db", "ovnsb_db"])
def test_the_driver_sees_sockets_of_its_group_where_ovn_s_databases_listen(database: str) -> None:
    door = DATABASE.format(f"{database}.socket")
    assert door in names(OVERLAY, "Wants") & names(OVERLAY, "After")
    socket = unit(UNITS / DATABASE.format(".socket"))["Socket"]
    assert (socket["SocketMode"], socket["SocketGroup"]) == ("0660", unit(OVERLAY)["Service"]["Group"])
    source, _, place = unit(OVERLAY)["Service"]["BindReadOnlyPaths"].removeprefix("-").partition(":")
    listens, leads = Path(socket["ListenStream"]), unit(UNITS / DATABASE.format(".service"))["Service"]
    assert str(listens.parent) == source
    assert leads["ExecStart"].split()[-1] == f"{place}/{listens.name}"
    settings = (UNITS.parents[1] / "scripts" / "lib" / "daemons.sh").read_text()
    assert f"=unix:{place}/{database}.sock\n" in settings, "what quickstart sets in external_ids"


def test_systemd_is_notified_of_the_start_and_restarts_it_after_a_crash() -> None:
    service = unit(OVERLAY)["Service"]
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"


def test_a_stop_has_time_for_the_verbs_that_are_under_way() -> None:
    assert float(unit(OVERLAY)["Service"]["TimeoutStopSec"]) > 2 * DEADLINE


@pytest.mark.parametrize(("path", "driver"), [(OVERLAY, Program.OVERLAY), (UNDERLAY, Program.UNDERLAY)])
def test_the_command_line_of_the_unit_is_one_of_the_driver_s(path: Path, driver: Program) -> None:
    service = unit(path)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == driver
    variable, _, options = shlex.split(service["Environment"])[0].partition("=")
    assert arguments[-1] == f"${variable}"
    settings = settings_of(*arguments[:-1], *shlex.split(options), program=driver)
    assert settings.unix_socket == Path("/run/ovn-docker/openvswitch.sock")
    assert settings.health.on
    assert not settings.daemon.detach, "systemd wants the process itself"
