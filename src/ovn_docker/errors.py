"""Every error that this package raises on purpose.

* OvnDockerError
  * RequestError          the caller sent something that cannot be right
    * NotFoundError       it names a network or endpoint that does not exist
    * ConflictError       it collides with something that exists and is not its own
  * DatabaseError         an OVSDB server answered with a refusal
    * ConstraintError     ... because a unique index or a row id is taken
    * RequirementError    ... because something stands in it that must not
    * LockError           ... because another client has the lock by now
    * SchemaError         ... because its schema lacks what we use
    * UnstorableError     ... or would: a text of the caller's is none that it can hold; a RequestError too
  * UnreachableError      a database or a daemon does not answer
  * NeutronError          Neutron or Keystone refused
  * HostError             the kernel or Open vSwitch on this host refused
  * ConfigError           a flag or a setting cannot be used

An error's text is one line: what failed, on which object, and what to do. Errors of third parties are
translated where they enter (ovsdb/client.py, host/veth.py, libnetwork/server.py); only the HTTP front, the
command line and the daemon's main function catch them.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class OvnDockerError(Exception):
    """The base of all; its text is one line that can be shown to a person as it is."""


class RequestError(OvnDockerError):
    """The caller sent something that cannot be right, whatever the state of the system."""


class NotFoundError(RequestError):
    """The request names a network or an endpoint that does not exist."""


class ConflictError(RequestError):
    """The request collides with something that exists and is not its own."""


class DatabaseError(OvnDockerError):
    """An OVSDB server refused a transaction (RFC 7047 section 4.1.3).

    Attributes:
        results: of the operations before the one that was refused, as the database was then.
    """

    results: Sequence[Mapping[str, Any]] = ()


class ConstraintError(DatabaseError):
    """A unique index or a row id is taken already."""


class RequirementError(DatabaseError):
    """What the transaction requires of the database does not hold (RFC 7047 section 5.2.6, wait)."""


class LockError(DatabaseError):
    """The client does not have the lock that the transaction asserts (RFC 7047 section 5.2.9, assert)."""


class SchemaError(DatabaseError):
    """The database lacks a table or a column that we use."""


class UnstorableError(RequestError, DatabaseError):
    """A text cannot be stored in OVSDB; it came with a request, so that the caller is wrong."""


class UnreachableError(OvnDockerError):
    """A database or a daemon does not answer."""


class NeutronError(OvnDockerError):
    """Neutron or Keystone refused a request.

    Attributes:
        status: of HTTP; 0 for one that was never sent.
        kind: Neutron's own name of the reason, such as ``OverQuota``, or "".
    """

    def __init__(self, text: str, status: int = 0, kind: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind


class HostError(OvnDockerError):
    """The kernel or Open vSwitch on this host refused."""


class ConfigError(OvnDockerError):
    """A flag or a setting cannot be used."""
