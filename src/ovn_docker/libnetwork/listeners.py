"""Where the plugin API is served: a unix socket, a TCP port, or both.

Owns the sockets from binding to removal, and the graceful stop; knows nothing of what is served.
"""

import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path

from aiohttp import web

from ovn_docker.errors import ConfigError

BACKLOG = 128
# A day, which is for ever: were it we who close an idle connection, a request could be on its way just then,
# and dockerd would send it again without its body (moby issue 35459).
KEEPALIVE = 86400.0
PORTS = range(65536)


class Listeners:
    """An application's sockets.

    Attributes:
        tcp_address: (ip, port) as bound, the port that the kernel chose if 0 was asked for; None without TCP.
    """

    def __init__(self, application: web.Application, *, grace: float = 10.0) -> None:
        """`grace` is how many seconds a stop waits for requests in flight: the application's deadline."""
        # A client that goes away must not end a verb half-way: dockerd will ask again.
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=False,
            keepalive_timeout=KEEPALIVE,
            shutdown_timeout=grace,
        )
        self._unix: tuple[Path, int] | None = None
        self.tcp_address: tuple[str, int] | None = None

    async def start(self, unix_path: Path | None, tcp: tuple[str, int] | None) -> None:
        """Listen.

        Args:
            unix_path: the unix socket's path, or None. Its directory is made; only its owner may connect.
            tcp: (IPv4 or IPv6 address, port), or None.

        Raises:
            ConfigError: a path or an address cannot be listened on; then none is.
        """
        await self._runner.setup()
        try:
            if unix_path is not None:
                sock = bind_unix(unix_path)
                self._unix = (unix_path, unix_path.stat().st_ino)
                await self._serve(sock)
            if tcp is not None:
                sock = bind_tcp(*tcp)
                self.tcp_address = sock.getsockname()[:2]
                await self._serve(sock)
        except BaseException:
            await self.stop()
            raise

    async def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        await web.SockSite(self._runner, sock, backlog=BACKLOG).start()

    async def stop(self) -> None:
        """Take no new requests, let those in flight end, close, and remove the socket file if it is ours."""
        if self._unix is not None:
            path, inode = self._unix
            self._unix = None
            if path.exists() and path.stat().st_ino == inode:
                path.unlink()
        await self._runner.cleanup()


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
        raise ConfigError(f"--bind-ip {ip}: no IP address") from error
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
