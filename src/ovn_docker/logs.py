"""Logging as in Open vSwitch's programs: ``-v``, ``--log-file``, one event a line (ovs-vswitchd(8))."""

import codecs
import logging
import logging.handlers
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BufferedWriter, FileIO, TextIOWrapper
from itertools import count
from pathlib import Path
from typing import TextIO

from ovn_docker.errors import ConfigError

DESTINATIONS = ("console", "syslog", "file")
LEVELS: Mapping[str, int] = {
    "off": logging.CRITICAL + 10,
    "emer": logging.CRITICAL,
    "err": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "dbg": logging.DEBUG,
}
PACKAGE = "ovn_docker"
THIRD_PARTIES = frozenset({"aiohttp", "asyncio", "pyroute2"})

PRIORITIES: Mapping[int, int] = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
"""The journal's (sd-daemon(3))."""

_NAMES = {number: name.upper() for name, number in LEVELS.items()}
# C0, DEL, C1, the two Unicode line ends, direction marks that make a text read as another (Unicode UAX #9),
# and surrogates, which no file can hold.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
codecs.lookup("unicode_escape")  # now: its module cannot be loaded once the process is out of descriptors
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+,-]+")


@dataclass(frozen=True, slots=True)
class Levels:
    """Destination to module to level, with "" for every module that is not named."""

    table: Mapping[str, Mapping[str, int]]

    def threshold(self, destination: str, module: str) -> int:
        """The lowest level of a module's events that reach a destination."""
        modules = self.table[destination]
        return modules.get(module, modules[""])

    def lowest(self, destinations: Iterable[str]) -> int:
        """The level below which nothing reaches any of the destinations."""
        return min((min(self.table[name].values()) for name in destinations), default=LEVELS["off"])


@cache
def known_modules() -> Mapping[str, frozenset[str]]:
    """The modules that each word means which ``-v`` accepts: a file, a folder, or a library that logs."""
    root = Path(__file__).parent
    known = {name: {name} for name in THIRD_PARTIES}
    for path in root.rglob("[!_]*.py"):
        for name in (path.stem, *path.relative_to(root).parts[:-1]):
            known.setdefault(name, set()).add(path.stem)
    return {name: frozenset(modules) for name, modules in known.items()}


def module_of(logger: str) -> str:
    """``overlay_driver`` for ``ovn_docker.overlay.overlay_driver``, ``aiohttp`` for ``aiohttp.server``."""
    parts = logger.split(".")
    return parts[-1] if parts[0] == PACKAGE else parts[0]


def parse(specs: Iterable[str], modules: Mapping[str, Collection[str]] | None = None) -> Levels:
    """Read the ``-v`` options of a command line, "" for one without a value.

    A text holds up to one module (of `known_modules` unless others are given), one destination and one level,
    in any order and case, separated by colons, commas or spaces. Without a level it means dbg; ``any`` means
    every module and destination.

    Raises:
        ConfigError: a word is none of these, or there are two of one kind.
    """
    known = known_modules() if modules is None else modules
    table = {name: {"": LEVELS["info"]} for name in DESTINATIONS}
    for spec in specs:
        module, destination, level = _words(spec, known)
        for name in DESTINATIONS if destination is None else (destination,):
            table[name] = {"": level} if module is None else table[name] | dict.fromkeys(known[module], level)
    return Levels(table)


def _words(spec: str, modules: Collection[str]) -> tuple[str | None, str | None, int]:
    """One specification, as (module, destination, level); None means all."""
    found: dict[str, str] = {}
    for word in re.split(r"[ ,:]+", spec.lower().strip(" ,:")):
        kind = _kind(word, spec, modules)
        if kind in found:
            raise ConfigError(f"-v{spec}: both {found[kind]!r} and {word!r} are a {kind}; give one")
        if kind:
            found[kind] = word
    return found.get("module"), found.get("destination"), LEVELS[found.get("level", "dbg")]


def _kind(word: str, spec: str, modules: Collection[str]) -> str:
    if word in {"", "any"}:
        return ""
    if word in LEVELS:
        return "level"
    if word in DESTINATIONS:
        return "destination"
    if word in modules:
        return "module"
    if word in {"pattern", "facility"}:
        raise ConfigError(f"-v{spec}: {word.upper()} is not supported; the form of a log line is fixed")
    raise ConfigError(
        f"-v{spec}: {word!r} is not a module, a destination (console, syslog, file) or a level"
        f" ({', '.join(LEVELS)})"
    )


def escape(text: str) -> str:
    r"""Text with its control characters spelled out, a line feed as ``\n``, so that it stays on its line."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def fields(**values: object) -> str:
    """Keys and values for a log line: ``network_id=b508 outcome="no such network"``.

    None and "" are left out. A value that could be read as another key is quoted.
    """
    return " ".join(
        f"{key}={_quoted(str(value))}" for key, value in values.items() if value is not None and value != ""
    )


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class LineFormatter(logging.Formatter):
    """Formats an event as vlog's default pattern does: ``2026-11-23T22:20:00.123Z|00012|overlay|INFO|text``.

    An exception is one line too, unless its logger is at dbg: then each line of the traceback is a log line
    with the same head.
    """

    def __init__(self, *, timestamp: bool = True, priority: bool = False) -> None:
        """With `priority`, each line begins with it as the journal reads it: ``<4>``."""
        super().__init__()
        self._timestamp = timestamp
        self._priority = priority

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_number(record):05d}|{module_of(record.name)}|{_level_name(record.levelno)}|"
        if self._timestamp:
            seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            head = f"{seconds}.{int(record.msecs):03d}Z|{head}"
        if self._priority:
            head = f"<{PRIORITIES.get(record.levelno, PRIORITIES[logging.INFO])}>{head}"
        return "\n".join(head + escape(line) for line in self._lines(record))

    def _lines(self, record: logging.LogRecord) -> list[str]:
        text = record.getMessage()
        if not record.exc_info or record.exc_info[1] is None:
            return [text]
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return [text, *self.formatException(record.exc_info).splitlines()]
        error = record.exc_info[1]
        return [f"{text} ({type(error).__name__}: {error})"]


_sequence = count(1)


def _number(record: logging.LogRecord) -> int:
    """The event's number, the same at each destination."""
    attributes = vars(record)
    if "sequence" not in attributes:
        attributes["sequence"] = next(_sequence)
    return int(attributes["sequence"])


def _level_name(levelno: int) -> str:
    return _NAMES.get(levelno, logging.getLevelName(levelno))


class DockerdConsole(logging.StreamHandler[TextIO]):
    """Standard error for errors and standard output for the rest.

    dockerd logs the first of a managed plugin at level error and the second at info (moby plugin/manager.go,
    makeLoggerStreams).
    """

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr if record.levelno >= logging.ERROR else sys.stdout)
        super().emit(record)


def configure(levels: Levels, log_file: Path | None, *, console: bool | DockerdConsole, syslog: bool) -> None:
    """Set the destinations of the root logger, instead of those that it had.

    Args:
        levels: what reaches each destination.
        log_file: opened for appending, and again after it was moved away (logrotate).
        console: whether standard error is a destination, or what takes its place.
        syslog: whether the local syslog is one; if nothing listens there, one line says so.

    Raises:
        ConfigError: the file cannot be opened.
    """
    logging.raiseExceptions = False  # a full disk must not put tracebacks on the terminal
    handlers: dict[str, logging.Handler] = {}
    absent = ""
    if log_file is not None:
        handlers["file"] = _file_handler(log_file)
    if console:
        handlers["console"] = logging.StreamHandler(sys.stderr) if console is True else console
    if syslog:
        try:
            handlers["syslog"] = _syslog_handler()
        except OSError as error:
            absent = str(error.strerror or error)
    _install(levels, handlers)
    if absent:
        logging.getLogger(__name__).info("not logging to syslog: /dev/log does not answer: %s", absent)


def _install(levels: Levels, handlers: Mapping[str, logging.Handler]) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for destination, handler in handlers.items():
        formatter = LineFormatter(timestamp=destination != "syslog", priority=_is_journal(handler))
        handler.setFormatter(formatter)
        handler.addFilter(_filter(levels, destination))
        root.addHandler(handler)
    root.setLevel(levels.lowest(handlers))


def _is_journal(handler: logging.Handler) -> bool:
    """Whether it writes to standard error, which is the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    if not isinstance(handler, logging.StreamHandler) or handler.stream is not sys.stderr:
        return False
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _filter(levels: Levels, destination: str) -> logging.Filter:
    class Threshold(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.levelno >= levels.threshold(destination, module_of(record.name))

    return Threshold()


class _LogFile(logging.handlers.WatchedFileHandler):
    """Readable by owner and group only: it holds the names of containers."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return TextIOWrapper(
            BufferedWriter(FileIO(descriptor, "a")), encoding=self.encoding, errors=self.errors
        )


def _file_handler(path: Path) -> logging.Handler:
    try:
        return _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"--log-file {path}: cannot be opened: {error.strerror}") from error


def _syslog_handler() -> logging.Handler:
    handler = logging.handlers.SysLogHandler("/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.ident = "ovn-docker: "
    return handler
