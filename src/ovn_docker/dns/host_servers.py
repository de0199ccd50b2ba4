"""The name servers that this host uses itself: where queries go that no container's name answers."""

import ipaddress
import os
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")

RESOLVED = Path("/run/systemd/resolve/resolv.conf")
"""systemd-resolved's list of the servers that it asks (systemd-resolved.service(8))."""

STUB = "127.0.0.53"
"""Where systemd-resolved itself answers."""

_Stamp = tuple[int, int, int] | None


class HostServers:
    """Reads resolv.conf(5), again after each change.

    If it names nothing but systemd-resolved's stub, the servers are those of systemd-resolved's own file, as
    Docker does it (moby daemon/libnetwork/internal/resolvconf, alternatePath).
    """

    def __init__(self, path: Path = RESOLV_CONF, resolved: Path = RESOLVED) -> None:
        self._path = path
        self._resolved = resolved
        self._stamps: tuple[_Stamp, _Stamp] = (None, None)
        self._servers: tuple[str, ...] = ()

    def servers(self) -> tuple[str, ...]:
        """Their addresses, in order; none if there are none, or the file cannot be read."""
        stamps = _stamp(self._path), _stamp(self._resolved)
        if stamps != self._stamps:
            servers = _read(self._path)
            if servers == (STUB,):
                servers = _read(self._resolved) or servers
            self._servers, self._stamps = servers, stamps
        return self._servers


def _stamp(path: Path) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  (follows the link that resolv.conf often is)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_dev


def _read(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    named = (word[1] for word in words if len(word) > 1 and word[0] == "nameserver")
    return tuple(dict.fromkeys(server for server in named if _is_address(server)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
