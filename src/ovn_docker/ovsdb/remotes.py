"""Where an OVSDB server listens, in OVSDB's own spelling (ovsdb(7), "Connection Methods"). Pure."""

import ipaddress
import re
from dataclasses import dataclass

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
