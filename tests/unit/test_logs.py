"""The syntax of -v, the form of a line, and that nothing breaks it."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker import logs
from ovn_docker.errors import ConfigError

MODULES = {"overlay_driver": ["overlay_driver"], "server": ["server"]}
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\|\d{5,}\|[a-z_]+\|(EMER|ERR|WARN|INFO|DBG)\|.*")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    before, level, raising = list(logger.handlers), logger.level, logging.raiseExceptions
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logging.raiseExceptions = before, raising
    logger.setLevel(level)


def test_everything_is_at_info_when_nothing_is_asked() -> None:
    levels = logs.parse([], MODULES)
    assert {levels.threshold(name, "overlay_driver") for name in logs.DESTINATIONS} == {logging.INFO}


def test_v_alone_means_dbg_everywhere() -> None:
    levels = logs.parse([""], MODULES)
    assert {levels.threshold(name, "overlay_driver") for name in logs.DESTINATIONS} == {logging.DEBUG}


@pytest.mark.parametrize(
    "spec",
    [
        "overlay_driver:file:warn",
        "warn,file,overlay_driver",
        "FILE OVERLAY_DRIVER WARN",
        "any:overlay_driver:file:warn",
    ],
)
def test_words_stand_in_any_order_and_case(spec: str) -> None:
    levels = logs.parse([spec], MODULES)
    assert levels.threshold("file", "overlay_driver") == logging.WARNING
    assert levels.threshold("file", "server") == logging.INFO
    assert levels.threshold("console", "overlay_driver") == logging.INFO


def test_a_word_that_is_left_out_stands_for_all_and_a_level_for_dbg() -> None:
    assert logs.parse(["overlay_driver"], MODULES).threshold("syslog", "overlay_driver") == logging.DEBUG
    assert logs.parse(["err"], MODULES).threshold("syslog", "overlay_driver") == logging.ERROR
    assert logs.parse(["console:off"], MODULES).threshold("console", "overlay_driver") > logging.CRITICAL


def test_a_later_option_overrides_an_earlier_one() -> None:
    levels = logs.parse(["overlay_driver:dbg", "file:err", "overlay_driver:file:warn"], MODULES)
    assert levels.threshold("file", "overlay_driver") == logging.WARNING
    assert levels.threshold("file", "server") == logging.ERROR
    assert levels.threshold("console", "overlay_driver") == logging.DEBUG


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("inof", "'inof' is not a module"),
        ("info:dbg", "both 'info' and 'dbg'"),
        ("file:console", "both 'file' and 'console'"),
        ("PATTERN:file:%m", "PATTERN is not supported"),
        ("FACILITY:daemon", "FACILITY is not supported"),
    ],
)
def test_a_bad_specification_is_one_clear_line(spec: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as refusal:
        logs.parse([spec], MODULES)
    assert f"-v{spec}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_files_of_the_package_are_the_modules() -> None:
    assert {"logs", "server", "messages", "aiohttp", "overlay", "ipam"} <= logs.known_modules().keys()
    levels = logs.parse(["overlay:dbg"])
    assert {levels.threshold("file", name) for name in ("overlay_driver", "allocator")} == {logging.DEBUG}
    assert levels.threshold("file", "server") == logging.INFO
    assert logs.parse(["server:warn"]).threshold("file", "server") == logging.WARNING


def test_a_loggers_module_is_its_last_name_or_its_library() -> None:
    assert logs.module_of("ovn_docker.overlay.overlay_driver") == "overlay_driver"
    assert logs.module_of("aiohttp.server") == "aiohttp"


def test_fields_leave_out_empty_values_and_quote_ambiguous_ones() -> None:
    line = logs.fields(network_id="b508", endpoint_id="", duration_ms=12, outcome='no "x" outcome=ok')
    assert line == r'network_id=b508 duration_ms=12 outcome="no \"x\" outcome=ok"'


def test_lines_have_the_form_of_vlog_and_nothing_can_break_one(root: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logs.configure(logs.parse([], MODULES), path, console=False, syslog=False)
    logger = logging.getLogger("ovn_docker.overlay.overlay_driver")
    logger.info("joined network_id=%s", "a\n2026-01-01T00:00:00.000Z|1|x|INFO|forged\r\x1b[2J\u2028\ud800")
    logger.debug("not asked for")
    logger.error("second")
    first, second = path.read_text(encoding="utf-8").splitlines()
    assert LINE.fullmatch(first)
    assert first.endswith(
        r"|overlay_driver|INFO|joined network_id=a\n"
        r"2026-01-01T00:00:00.000Z|1|x|INFO|forged\r\x1b[2J\u2028\ud800"
    )
    assert LINE.fullmatch(second)
    assert second.endswith("|overlay_driver|ERR|second")
    assert int(second.split("|")[1]) == int(first.split("|")[1]) + 1
    assert root.level == logging.INFO


def fail(logger: logging.Logger) -> None:
    try:
        int("two\nlines")
    except ValueError:
        logger.exception("it broke")


@pytest.mark.usefixtures("root")
def test_an_exception_is_one_line_and_its_traceback_shows_at_dbg_only(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logger = logging.getLogger("ovn_docker.overlay.overlay_driver")
    logs.configure(logs.parse([], MODULES), path, console=False, syslog=False)
    fail(logger)
    (line,) = path.read_text().splitlines()
    assert line.endswith(
        r"|overlay_driver|ERR|it broke (ValueError: invalid literal for int() with base 10: 'two\nlines')"
    )
    logs.configure(logs.parse([""], MODULES), path, console=False, syslog=False)
    fail(logger)
    lines = path.read_text().splitlines()[1:]
    assert any("Traceback" in line for line in lines)
    assert all(LINE.fullmatch(line) for line in lines)


@pytest.mark.usefixtures("root")
def test_each_destination_has_its_own_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.log"
    levels = logs.parse(["console:err", "overlay_driver:file:dbg"], MODULES)
    logs.configure(levels, path, console=True, syslog=False)
    logging.getLogger("ovn_docker.overlay.overlay_driver").debug("detail")
    logging.getLogger("ovn_docker.libnetwork.server").debug("noise")
    logging.getLogger("ovn_docker.libnetwork.server").error("trouble")
    assert [line.rsplit("|", 1)[1] for line in path.read_text().splitlines()] == ["detail", "trouble"]
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.rstrip() == path.read_text().splitlines()[1]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("journal", [True, False])
def test_only_systemds_journal_gets_a_lines_priority(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    journal: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    status = os.fstat(sys.stderr.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino if journal else 0}")
    logs.configure(logs.parse([]), tmp_path / "log", console=True, syslog=False)
    logging.getLogger("ovn_docker.overlay.overlay_driver").warning("trouble")
    logging.getLogger("ovn_docker.overlay.overlay_driver").info("a word")
    lines = capfd.readouterr().err.splitlines()
    assert [re.sub(LINE, "", line) for line in lines] == (["<4>", "<6>"] if journal else ["", ""])
    assert (tmp_path / "log").read_text().startswith("2")


@pytest.mark.usefixtures("root")
def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logs.configure(logs.parse([], MODULES), path, console=False, syslog=False)
    logging.getLogger("ovn_docker.x").info("before")
    path.rename(tmp_path / "x.log.1")
    logging.getLogger("ovn_docker.x").info("after")
    assert "after" in path.read_text()


@pytest.mark.usefixtures("root")
def test_a_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--log-file .*: cannot be opened: No such file"):
        logs.configure(logs.parse([]), tmp_path / "absent" / "x.log", console=False, syslog=False)


@pytest.mark.usefixtures("root")
def test_a_host_without_syslog_is_no_error(tmp_path: Path) -> None:
    logs.configure(logs.parse([]), tmp_path / "x.log", console=False, syslog=True)
    logging.getLogger("ovn_docker.x").info("goes on")
    assert "goes on" in (tmp_path / "x.log").read_text()


@pytest.mark.usefixtures("root")
def test_a_destination_that_is_gone_does_not_write_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.parse([]), None, console=True, syslog=False)
    logging.getLogger("ovn_docker.x").info("wrong %d", "number")
    assert "Traceback" not in capsys.readouterr().err
    assert sys.stderr is not None


def test_dockerd_reads_errors_apart_from_the_rest(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(logs.parse(["overlay_driver:err"]), None, console=logs.DockerdConsole(), syslog=False)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        root.getChild("ovn_docker.server").log(level, "at %d", level)
    root.getChild("ovn_docker.overlay.overlay_driver").info("not asked for")
    printed = capsys.readouterr()
    assert [line.rpartition("|")[2] for line in printed.out.splitlines()] == ["at 20", "at 30"]
    assert [line.rpartition("|")[2] for line in printed.err.splitlines()] == ["at 40"]
