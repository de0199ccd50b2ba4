"""Sockets bound to a path or an address, with errors that say what to do; quickly imported."""

import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path

from ovn_docker.errors import ConfigError

BACKLOG = 1024
PORTS = range(65536)


def bind_unix(path: Path) -> socket.socket:
    """A unix socket bound to a path, mode 0600; the socket file of a process that is gone is replaced.

    Raises:
        ConfigError: somebody listens there, the path is no socket, or it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_socket(path)
    except OSError as error:
        raise ConfigError(f"unix socket {path}: {error.strerror}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(path))
        path.chmod(0o600)  # nobody can connect before listen(), so that there is no moment of wider rights
    except OSError as error:
        sock.close()
        raise ConfigError(f"unix socket {path}: {error.strerror or error}") from error
    return sock


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"unix socket {path}: a file of another kind stands there; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(0)
        answer = probe.connect_ex(str(path))
    if answer in {0, errno.EAGAIN}:  # EAGAIN: it lives, and its backlog is full
        raise ConfigError(f"unix socket {path}: another process serves it; stop it or choose another path")
    if answer != errno.ECONNREFUSED:
        raise OSError(answer, os.strerror(answer))
    path.unlink()


def bind_tcp(ip: str, port: int) -> socket.socket:
    """A TCP socket bound to an address of this host.

    Raises:
        ConfigError: the address is none, is not this host's, or the port is taken or not allowed.
    """
    try:
        version = ipaddress.ip_address(ip).version
    except ValueError as error:
        raise ConfigError(f"--bind-ip {ip} is not a valid IP address") from error
    if port not in PORTS:
        raise ConfigError(f"--bind-port {port}: not in 0 to 65535")
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004
    try:
        return socket.create_server((ip, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"TCP {ip} port {port}: {_bind_failure(error)}") from error


def _bind_failure(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another process; choose another --bind-port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this host; choose another --bind-ip"
    return error.strerror or str(error)
