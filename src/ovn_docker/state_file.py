"""A small JSON file that is replaced as a whole, so that a crash at any moment leaves the old or the new one.

Not a pickle as in the guide: loading one can run code.
"""

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from ovn_docker.errors import HostError

VERSION = 1

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class StateFile:
    """One file, mode 0600, with a version in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()

    def load(self) -> dict[str, Any]:
        """What was saved last; nothing if there is no file.

        A file with unusable content is renamed, so that the next save does not destroy it. One that cannot be
        read (HostError) stays: the reason, such as too many open files, may be temporary.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except PermissionError as error:
            raise HostError(
                f"the state file {self._path} cannot be read: {error.strerror}: run this as root, or as the"
                " file's owner"
            ) from error
        except OSError as error:
            raise HostError(
                f"the state file {self._path} cannot be read: {error.strerror}: it stays as it is; try again"
            ) from error
        try:
            content = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            return self.put_aside(str(error))
        if not isinstance(content, dict) or content.get("version") != VERSION:
            return self.put_aside(f"it is not of version {VERSION}")
        return {key: value for key, value in content.items() if key != "version"}

    def stamp(self) -> object:
        """Changes with the file's content, which is not read; None while there is no file."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change the file; it is on disk when this returns, and unchanged after a HostError.

        Args:
            change: makes the new content of the old. No other process that uses this class changes the file
                meanwhile.
        """
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            with self._writing, self._locked_directory() as directory:
                content = {"version": VERSION, **change(self.load())}
                self._write(temporary, json.dumps(content, indent=1, sort_keys=True))
                temporary.replace(self._path)
                os.fsync(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise HostError(f"the state file {self._path} cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked_directory(self) -> Iterator[int]:
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)  # left by a writer that was killed
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            owner = path.parent.stat()
            # A command that root runs must not lock the driver's user out.
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

    def put_aside(self, reason: str) -> dict[str, Any]:
        """Keep an unusable file under another name, and go on without."""
        aside = self._path.with_name(f"{self._path.name}.unusable")
        LOG.error("state file %s cannot be used and is kept as %s: %s", self._path, aside, reason)
        with contextlib.suppress(OSError):
            self._path.replace(aside)
        return {}


class StateSection(Generic[T]):
    """One mapping of the file, with its values as objects."""

    def __init__(self, file: StateFile, name: str, parse: Callable[[Mapping[str, Any]], T]) -> None:
        self._file = file
        self._name = name
        self._parse = parse
        self._stamp: object = object()
        self._values: dict[str, T] = {}

    def current(self) -> dict[str, T]:
        """What the file says now, read again only when it has changed: `ovn-docker repair` may do that."""
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._stamp, self._values = stamp, self.read(self._file.load())
        return self._values

    def read(self, content: Mapping[str, Any]) -> dict[str, T]:
        """The section of a file with this content; a file whose section is of another form is put aside."""
        try:
            return {key: self._parse(value) for key, value in content.get(self._name, {}).items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._file.put_aside(f"its '{self._name}' cannot be read: {type(error).__name__}: {error}")
            return {}
