"""TLS to OVSDB servers: the files, the context made of them, and the words for what is wrong.

Knows no connection. Source: ovs-pki(8) and ovsdb(7), "Connection Methods", for what the files are; RFC 9325
for the versions.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.errors import ConfigError

REASONS = {
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server does not accept our certificate: it has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server does not accept our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server does not accept our certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not accept our certificate: it knows another CA",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server speaks no TLS 1.2 or newer",
    "UNSUPPORTED_PROTOCOL": "the server speaks no TLS 1.2 or newer",
    "WRONG_VERSION_NUMBER": "the server speaks no TLS",
    "RECORD_LAYER_FAILURE": "the server speaks no TLS",
}
"""What OpenSSL calls a failure, for people."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files, as in the SSL table of Open_vSwitch."""

    private_key: str
    certificate: str
    ca_cert: str

    def context(self) -> ssl.SSLContext:
        """A context for a client of OVSDB, made of what is in the files now.

        The server must hold a certificate of that CA and no other. Its name is not compared, for ovs-pki
        writes names that are no host names. Python 3.13 asks more of a CA certificate than ovs-pki writes:
        that check is off.

        Raises:
            ConfigError: a file cannot be used; the text names it.
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
                f" {_words(error)}"
            ) from error
        try:
            context.load_verify_locations(self.ca_cert)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"TLS: CA certificate {self.ca_cert} cannot be used: {_words(error)}"
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


def _words(error: BaseException) -> str:
    named = getattr(error, "reason", None)
    return named.lower().replace("_", " ") if named else str(error) or type(error).__name__


def handshake_failure(error: ssl.SSLError) -> str:
    """Why a handshake failed, seen from the client, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    reason = error.reason or ""
    return REASONS.get(reason, f"TLS failed: {_words(error)}")
