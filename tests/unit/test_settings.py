"""The driver's flags as the guide gives them, their defaults, and what of them is refused."""

import logging
import re
from pathlib import Path

import pytest

from ovn_docker.errors import ConfigError
from ovn_docker.settings import DaemonOptions, Program, Tls
from tests.flags import settings_of


def test_without_flags_everything_is_as_the_guide_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVS_RUNDIR", raising=False)
    settings = settings_of()
    assert settings.bind == ("0.0.0.0", 5000)
    assert settings.unix_socket is None
    assert settings.scope == "global"
    assert settings.driver_name == "openvswitch"
    assert settings.plugin_directory == Path("/etc/docker/plugins")
    assert settings.ovsdb == "unix:/var/run/openvswitch/db.sock"
    assert settings.daemon == DaemonOptions()
    assert settings.log_file is None
    assert settings.levels.threshold("console", "overlay_driver") == logging.INFO


def test_the_guides_own_command_lines_are_read() -> None:
    assert settings_of("--bind-ip", "127.0.0.1", "--bind-port", "55000").bind == ("127.0.0.1", 55000)
    assert settings_of("--docker-driver-scope", "local").scope == "local"
    assert settings_of("--detach").daemon.detach


@pytest.mark.parametrize(
    ("flags", "bind"),
    [
        (["--bind-ip", "10.0.0.1"], ("10.0.0.1", 5000)),
        (["--bind-ip", "::"], ("::", 5000)),
        (["--bind-port", "6000"], ("0.0.0.0", 6000)),
        (["--unix-socket", "/run/x.sock"], None),
        (["--unix-socket", "/run/x.sock", "--bind-ip", "10.0.0.1"], ("10.0.0.1", 5000)),
        (["--unix-socket", "/run/x.sock", "--bind-port", "5000"], ("0.0.0.0", 5000)),
    ],
)
def test_tcp_is_listened_on_unless_only_a_unix_socket_is_named(
    flags: list[str], bind: tuple[str, int] | None
) -> None:
    settings = settings_of(*flags)
    assert settings.bind == bind
    assert settings.unix_socket == (Path("/run/x.sock") if "--unix-socket" in flags else None)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--bind-ip", "nowhere"], "--bind-ip"),
        (["--bind-ip", ""], "--bind-ip"),
        (["--bind-ip", "10.0.0.256"], "--bind-ip"),
        (["--bind-port", "0"], "--bind-port 0"),
        (["--bind-port", "-1"], "--bind-port -1"),
        (["--bind-port", "65536"], "--bind-port 65536"),
        (["--unix-socket", "x.sock"], "--unix-socket x.sock"),
        (["--unix-socket", ""], "--unix-socket"),
        (["--driver-name", "a/b"], "--driver-name 'a/b'"),
        (["--driver-name", ""], "--driver-name ''"),
        (["--driver-name", "../x"], "--driver-name '../x'"),
        (["--driver-name", "x\n"], "--driver-name"),
        (["-vnonsense"], "-vnonsense"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_flag(flags: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        settings_of(*flags)


@pytest.mark.parametrize(
    "flags", [["--docker-driver-scope", "swarm"], ["--bind-port", "many"], ["--no-such-flag"], ["operand"]]
)
def test_an_unknown_flag_or_choice_ends_the_program_with_its_usage(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        settings_of(*flags)
    assert ending.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_the_daemon_flags_are_those_of_open_vswitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVS_RUNDIR", raising=False)
    flags = ["--pidfile", "--overwrite-pidfile", "--no-chdir", "--monitor", "--detach"]
    assert settings_of(*flags).daemon == DaemonOptions(
        detach=True,
        pidfile=Path("/var/run/openvswitch/ovn-docker-overlay-driver.pid"),
        overwrite_pidfile=True,
        chdir=False,
        monitor=True,
    )


def test_files_are_found_again_after_the_change_of_directory() -> None:
    """With --detach the daemon goes to /, so a relative path is made absolute before."""
    settings = settings_of("--pidfile=x.pid", "--log-file=x.log", "--plugin-dir", "plugins")
    here = Path.cwd()
    assert settings.daemon.pidfile == here / "x.pid"
    assert settings.log_file == here / "x.log"
    assert settings.plugin_directory == here / "plugins"


def test_a_log_file_without_a_name_is_open_vswitchs() -> None:
    assert settings_of("--log-file").log_file == Path("/var/log/openvswitch/ovn-docker-overlay-driver.log")


def test_verbose_sets_the_level_of_a_module_at_a_destination() -> None:
    levels = settings_of("-voverlay_driver:file:dbg", "-v", "--verbose=console:off").levels
    assert levels.threshold("file", "overlay_driver") == logging.DEBUG
    assert levels.threshold("console", "overlay_driver") > logging.CRITICAL
    assert settings_of("-v").levels.threshold("syslog", "client") == logging.DEBUG


def test_the_run_directory_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVS_RUNDIR", "/run/elsewhere")
    assert settings_of().ovsdb == "unix:/run/elsewhere/db.sock"
    assert settings_of("--pidfile").daemon.pidfile == Path("/run/elsewhere/ovn-docker-overlay-driver.pid")


def test_sharing_is_off_and_subnets_come_from_the_default_pools() -> None:
    settings = settings_of()
    assert (settings.distributed, settings.context) == (False, "default")
    assert [str(pool) for pool in settings.default_pools] == [
        "base=10.200.0.0/14,size=24",
        "base=fd6f:766e:6400::/48,size=64",
    ]
    assert settings.state_file == Path("/var/lib/ovn-docker/openvswitch.json")


def test_the_guides_flags_for_sharing_are_read() -> None:
    settings = settings_of("--distributed", "--routing-context", "red", "--driver-name", "red-ovn")
    assert (settings.distributed, settings.context) == (True, "red")
    assert settings.state_file == Path("/var/lib/ovn-docker/red-ovn.json")


def test_default_pools_replace_those_that_are_built_in() -> None:
    flags = ["--default-address-pool", "base=10.8.0.0/16,size=24"]
    settings = settings_of(*flags, "--default-address-pool", "base=fd00:8::/48,size=64")
    assert [str(pool) for pool in settings.default_pools] == [flags[1], "base=fd00:8::/48,size=64"]


def test_the_state_file_is_found_again_after_the_daemon_went_to_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_of("--state-file", "state.json").state_file == tmp_path / "state.json"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--routing-context", "a b"], "--routing-context: context 'a b' is not a valid name"),
        (["--routing-context", ""], "--routing-context: context '' is not a valid name"),
        (["--default-address-pool", "10.0.0.0/8"], "--default-address-pool '10.0.0.0/8': write base=CIDR"),
    ],
)
def test_a_flag_of_sharing_that_cannot_be_used_is_refused(flags: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        settings_of(*flags)


@pytest.mark.parametrize("seconds", ["0", "60", "86400"])
def test_dead_hosts_are_cleaned_up_after_a_minute_or_more_or_never(seconds: str) -> None:
    assert settings_of("--dead-host-after", seconds).dead_host_after == int(seconds)
    assert settings_of().dead_host_after == 0


@pytest.mark.parametrize("seconds", ["1", "59", "-1"])
def test_a_host_is_not_dead_within_a_minute(seconds: str) -> None:
    with pytest.raises(ConfigError, match=f"--dead-host-after {seconds} is too short"):
        settings_of(f"--dead-host-after={seconds}")


def test_the_databases_are_probed_as_ovs_probes_them() -> None:
    """In milliseconds, 0 for never, and not oftener than once in a second (ovs lib/reconnect.c)."""
    given = {"": 5.0, "0": 0.0, "1": 1.0, "999": 1.0, "1000": 1.0, "60000": 60.0}
    flags = {text: [f"--db-probe-interval={text}"] if text else [] for text in given}
    assert {text: settings_of(*flags[text]).probe_interval for text in given} == given
    with pytest.raises(ConfigError, match="--db-probe-interval -1: give milliseconds"):
        settings_of("--db-probe-interval=-1")


OWN_TLS = ("--tls-cert", "/t/a.pem", "--tls-key", "/t/a.key", "--tls-client-ca", "/t/ca.pem")
DOCKERS_TLS = (
    *("--plugin-file-ca", "/d/ca.pem"),
    *("--plugin-file-cert", "/d/d.pem", "--plugin-file-key", "/d/d.key"),
)


def test_tls_is_off_unless_its_files_are_given() -> None:
    assert settings_of().tls is None
    own = (Path("/t/a.pem"), Path("/t/a.key"), Path("/t/ca.pem"))
    docker = (Path("/d/ca.pem"), Path("/d/d.pem"), Path("/d/d.key"))
    assert settings_of(*OWN_TLS, *DOCKERS_TLS).tls == Tls(*own, docker)
    assert settings_of(*OWN_TLS, "--unix-socket", "/s", "--bind-port", "5001").tls == Tls(*own, None)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (OWN_TLS[:4], "--tls-cert, --tls-key, --tls-client-ca go together: --tls-client-ca is missing"),
        (OWN_TLS[:2] + DOCKERS_TLS, "--tls-key and --tls-client-ca are missing"),
        ((*OWN_TLS, *DOCKERS_TLS[:2]), "--plugin-file-cert and --plugin-file-key are missing"),
        (OWN_TLS, "--tls-cert without --unix-socket"),
        (DOCKERS_TLS, "--plugin-file-ca has no effect without TLS"),
        ((*OWN_TLS, "--unix-socket", "/s"), "--tls-cert is for the TCP port"),
        ((*OWN_TLS, *DOCKERS_TLS, "--unix-socket", "/s", "--bind-port", "1"), "no effect with --unix-socket"),
        ((*OWN_TLS[:5], "ca.pem", *DOCKERS_TLS), "--tls-client-ca ca.pem is not an absolute path"),
    ],
)
def test_flags_of_tls_that_make_no_sense_together_are_refused(flags: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        settings_of(*flags)


@pytest.mark.parametrize("program", Program)
def test_every_program_reads_its_defaults(program: Program) -> None:
    assert settings_of(program=program).driver_name == ("ovn" if program is Program.PLUGIN else "openvswitch")


def test_a_program_that_does_not_take_a_flag_has_its_default() -> None:
    underlay = settings_of("--bridge=br0", program=Program.UNDERLAY)
    assert (underlay.bridge, underlay.child_ports, underlay.dead_host_after) == ("br0", "trunk", 0)
    assert underlay.state_file == Path("/var/lib/ovn-docker/openvswitch-underlay.json")
    command = settings_of("--driver-name=example.org:5000/ovn", program=Program.VTEP)
    assert (command.unix_socket, command.daemon) == (None, DaemonOptions())
    assert command.state_file == Path("/var/lib/ovn-docker/example.org:5000_ovn.json")


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 16])
def test_a_bridge_that_cannot_exist_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--bridge"):
        settings_of("--bridge", name, program=Program.UNDERLAY)
