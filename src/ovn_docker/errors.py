"""Every error that this package raises on purpose; the class says who is wrong.

An error's text is one line: what failed, on which object, and what to do. Errors of third parties are
translated where they enter (ovsdb/client.py, host/veth.py, libnetwork/server.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any


class OvnDockerError(Exception):
    """The base of all; its text can be shown to a person as it is."""


class RequestError(OvnDockerError):
    """The caller sent an invalid request, whatever the state of the system."""


class NotFoundError(RequestError):
    """The request names a network or an endpoint that does not exist."""


class ConflictError(RequestError):
    """The request conflicts with something that exists."""


class DatabaseError(OvnDockerError):
    """An OVSDB server refused a transaction (RFC 7047 section 4.1.3)."""

    results: Sequence[Mapping[str, Any]] = ()
    """Of the operations before the one that was refused, as the database was then."""


class ConstraintError(DatabaseError):
    """A unique index or a row id is taken."""


class RequirementError(DatabaseError):
    """What the transaction requires of the database does not hold (RFC 7047 section 5.2.6, wait)."""


class LockError(DatabaseError):
    """The client does not have the lock that the transaction asserts (RFC 7047 section 5.2.9, assert)."""


class SchemaError(DatabaseError):
    """The database lacks a table or a column that we use."""


class UnstorableError(RequestError, DatabaseError):
    """A text of a request cannot be stored in OVSDB, so the caller is wrong."""


class UnreachableError(OvnDockerError):
    """A database or a daemon does not answer."""


class NeutronError(OvnDockerError):
    """Neutron or Keystone refused a request.

    Attributes:
        status: of HTTP; 0 for one that was never sent.
        kind: Neutron's name of the reason, such as ``OverQuota``, or "".
    """

    def __init__(self, text: str, status: int = 0, kind: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind


class HostError(OvnDockerError):
    """The kernel or Open vSwitch on this host refused."""


class ConfigError(OvnDockerError):
    """A flag or a setting cannot be used."""
