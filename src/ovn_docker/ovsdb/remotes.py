"""OVSDB remotes (ovsdb(7), "Connection Methods"): where a server listens, its TLS files, what can fail."""

import errno
import grp
import ipaddress
import os
import pwd
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.errors import ConfigError

MAXIMUM_PORT = 65535

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
"""RFC 1035 section 2.3.4: labels of up to 63 octets, 255 in all. The resolver raises on any other."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One connection method.

    Attributes:
        method: ``tcp``, ``ssl`` or ``unix``.
        address: an IP address or host name, or the socket's path.
        port: 0 for unix.
    """

    method: str
    address: str
    port: int = 0

    def __str__(self) -> str:
        """As it was written."""
        if self.method == "unix":
            return f"unix:{self.address}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.method}:{host}:{self.port}"


def parse_remotes(text: str) -> tuple[Remote, ...]:
    """Read ``tcp:10.0.0.1:6641,ssl:[fd00::1]:6641,unix:/run/ovn/ovnnb_db.sock``.

    Raises:
        ConfigError: a part is not one of these forms; the text names it.
    """
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(text: str) -> Remote:
    method, _, rest = text.partition(":")
    if method == "unix" and rest.startswith("/"):
        return Remote("unix", rest)
    host, _, port = rest.rpartition(":")
    if method in {"tcp", "ssl"} and host and port.isdecimal() and 0 < int(port) <= MAXIMUM_PORT:
        return Remote(method, _host(host, text), int(port))
    raise ConfigError(
        f"'{text}' is not a valid OVSDB remote: write tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:/PATH,"
        " several separated by commas"
    )


def _host(host: str, text: str) -> str:
    if _HOST_NAME.fullmatch(host):  # IPv4 addresses too
        return host
    try:
        return str(ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]")))
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a valid OVSDB remote: {error}") from error


# --- TLS to OVSDB servers. Source: ovs-pki(8) and ovsdb(7) for the files, RFC 9325 for the versions. --------


REASONS = {
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server does not accept our certificate: it has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server does not accept our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server does not accept our certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not accept our certificate: it trusts another CA",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not support TLS 1.2 or newer",
    "UNSUPPORTED_PROTOCOL": "the server does not support TLS 1.2 or newer",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
    "RECORD_LAYER_FAILURE": "the server does not speak TLS",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files, as in the SSL table of Open_vSwitch."""

    private_key: str
    certificate: str
    ca_cert: str

    def context(self) -> ssl.SSLContext:
        """A client's context, made of the files as they are now; ConfigError if one cannot be used.

        The server must have a certificate of that CA. Its name is not compared, because ovs-pki writes names
        that are not host names. Python 3.13 demands more of a CA certificate than ovs-pki writes: that check
        is off.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        for what, path in (
            ("private key", self.private_key),
            ("certificate", self.certificate),
            ("CA certificate", self.ca_cert),
        ):
            _check_readable(what, path)
        try:
            # A passphrase would be asked of the terminal.
            context.load_cert_chain(self.certificate, self.private_key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"TLS: certificate {self.certificate} and private key {self.private_key} cannot be used:"
                f" {openssl_text(error)}"
            ) from error
        try:
            context.load_verify_locations(self.ca_cert)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"TLS: CA certificate {self.ca_cert} cannot be used: {openssl_text(error)}"
            ) from error
        return context


def _check_readable(what: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"TLS: {what} '{path}' cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


def openssl_text(error: BaseException) -> str:
    """OpenSSL's name of a failure, in words; of another error its own text."""
    named = getattr(error, "reason", None)
    return named.lower().replace("_", " ") if named else str(error) or type(error).__name__


def handshake_failure(error: ssl.SSLError) -> str:
    """Why a handshake failed, seen from the client, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    reason = error.reason or ""
    return REASONS.get(reason, f"TLS failed: {openssl_text(error)}")


# --- Why a server's unix socket cannot be opened. -----------------------------------------------------------


REMEDIES = {
    errno.ENOENT: "check that its ovsdb-server is running{start} and uses this path",
    errno.ECONNREFUSED: "check that its ovsdb-server is running{start}",
    errno.ECONNRESET: "check that the database behind it is running{start}",
    errno.EPIPE: "check that the database behind it is running{start}",
}
"""The last two come from a proxy without a server. {start} is the command that starts it, or ""."""


def socket_failure(path: str, error: OSError, service: str = "") -> str:
    """Why a server's unix socket cannot be opened, and what to do; "" where the socket is not to blame.

    `service` is the server's systemd unit, or "" where that is not known.
    """
    if error.errno is None:
        return ""
    text = os.strerror(error.errno)
    if error.errno == errno.EACCES:
        return (
            f"{text}: {_whose(Path(path))}, and this runs as {_user(os.geteuid())}:"
            " run it as root, or the driver by its systemd unit (scripts/install-unit)"
        )
    remedy = REMEDIES.get(error.errno, "")
    start = f" ('systemctl start {service}')" if service else ""
    return f"{text}: {remedy.format(start=start)}" if remedy else ""


def _whose(socket: Path) -> str:
    """Owner and mode of what denies access: the socket, or a directory that may not be entered."""
    for path in (socket, *socket.parents):
        try:
            status = path.stat()
        except OSError:  # a directory above denies access
            continue
        what = "the socket" if path == socket else f"directory {path}"
        mode = stat.S_IMODE(status.st_mode)
        return f"{what} belongs to {_user(status.st_uid)}:{_group(status.st_gid)} with mode {mode:04o}"
    return "its directory cannot be read"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
