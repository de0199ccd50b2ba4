"""TLS of the plugin's listener: its files, the server's context, and its renewal when a file changes.

Source: RFC 8446, RFC 9325 (TLS 1.2 at least); moby vendor/github.com/docker/go-connections/tlsconfig for
Docker's side.
"""

import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.errors import ConfigError
from ovn_docker.ovsdb.remotes import openssl_text

REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate",
    "HTTP_REQUEST": "it speaks plain HTTP, not TLS",
    "UNSUPPORTED_PROTOCOL": "it does not support TLS 1.2 or newer",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not support TLS 1.2 or newer",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust this driver's certificate: it trusts another CA",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept this driver's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it does not accept this driver's certificate: it has expired",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
}

SETTLE = 1.0
"""Seconds in which a set of files may be replaced one by one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ListenerFiles:
    """Paths of PEM files of the listener.

    Attributes:
        certificate: the driver's, with the CAs between it and the root, if any.
        key: its private key, without a passphrase.
        client_ca: the CAs whose clients are served.
    """

    certificate: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True)
class DockerFiles:
    """Paths of PEM files that dockerd is to use, as dockerd sees them.

    Attributes:
        ca: the CA that signed the driver's certificate.
        certificate: dockerd's own.
        key: its private key.
    """

    ca: Path
    certificate: Path
    key: Path


class Certificates:
    """The listener's files, as they are now; ConfigError when one cannot be used at the start.

    Attributes:
        problem: what is wrong with them, as one line, or "".
    """

    def __init__(self, files: ListenerFiles) -> None:
        self._files = files
        self._changed: Callable[[], None] = lambda: None
        self._state = _state(files)
        self._context = _server_context(files)
        self._changed_at = 0.0
        self._unusable = ""
        self._docker: tuple[DockerFiles, str] | None = None
        self.problem = ""

    @property
    def context(self) -> ssl.SSLContext:
        """For a new connection."""
        return self._context

    def when_changed(self, call: Callable[[], None]) -> None:
        """Set the function that is called after new files were taken into use."""
        self._changed = call

    def serve_docker(self, docker: DockerFiles, name: str) -> None:
        """Check from now on whether dockerd can use the listener; `name` is the host in the plugin file."""
        self._docker = (docker, name)
        self.inspect()

    def refresh(self) -> None:
        """Take the files into use if they have changed.

        If they cannot be used, the previous ones stay in use and the log says so, once. It does so `SETTLE`
        seconds
        later: somebody may be about to replace the second of two files.
        """
        state = _state(self._files)
        if state == self._state:
            if self._unusable and time.monotonic() - self._changed_at >= SETTLE:
                self._report(self._unusable)
            return
        self._state, self._changed_at, self._unusable = state, time.monotonic(), ""
        try:
            self._context = _server_context(self._files)
        except ConfigError as error:
            self._unusable = f"{error}; the previous files stay in use"
            return
        _log.info("TLS: the files of the listener have changed, and the new ones are in use")
        self.inspect()
        self._changed()

    def inspect(self) -> None:
        """Find out whether dockerd can use the listener; `problem` and the log say what is wrong.

        Its handshake is carried out in memory, with its files as far as this process may read them.
        """
        if self._docker is None:
            self._report("")
            return
        docker, name = self._docker
        try:
            fault = _handshake(self._context, _client_context(docker), name)
        except ConfigError as error:
            fault = str(error)
        self._report(f"TLS: Docker cannot use the listener at {name}: {fault}" if fault else "")

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("%s", problem)
        self.problem = problem


def reason(error: BaseException) -> str:
    """Why a handshake failed, seen from the server, in a few words about the client."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return REASONS.get(error.reason, error.reason.lower().replace("_", " "))
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return "the handshake timed out"
    return "it closed the connection during the handshake"


def _state(files: ListenerFiles) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file is written or replaced."""
    return tuple(_stat(path) for path in (files.certificate, files.key, files.client_ca))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _server_context(files: ListenerFiles) -> ssl.SSLContext:
    """A context that accepts clients with a certificate of the CA, and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would be accepted without another look at its certificate.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    _load_pair(context, "--tls-cert", files.certificate, files.key)
    _load_ca(context, "--tls-client-ca", files.client_ca)
    return context


def _client_context(docker: DockerFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_ca(context, "--plugin-file-ca", docker.ca)
    if _may_read(docker.key):
        _load_pair(context, "--plugin-file-cert", docker.certificate, docker.key)
    return context


def _may_read(path: Path) -> bool:
    """True for a missing file too: loading it will say so."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.access(path, os.R_OK)


def _load_pair(context: ssl.SSLContext, flag: str, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        _readable(flag if path == certificate else flag.replace("-cert", "-key"), path)
    try:
        context.load_cert_chain(certificate, key, password="")  # a passphrase would be asked of the terminal
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{flag} {certificate} and its key {key} cannot be used: {openssl_text(error)}"
        ) from error


def _load_ca(context: ssl.SSLContext, flag: str, path: Path) -> None:
    _readable(flag, path)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{flag} {path} holds no certificate: {openssl_text(error)}") from error


def _readable(flag: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be read: {error.strerror}") from error


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """Why a handshake between two contexts fails, as one line, or ""."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(down, up, server_hostname=name)
    server_side = server.wrap_bio(up, down, server_side=True)
    pending = [client_side, server_side]
    for _ in range(10):
        for side in tuple(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                flag = "--tls-cert" if side is client_side else "--plugin-file-cert"
                if isinstance(error, ssl.SSLCertVerificationError):
                    return f"the certificate of {flag} is not accepted: {error.verify_message}"
                return f"{flag}: {openssl_text(error)}"
    return "" if not pending else "the handshake does not end"
