"""What is asked of a server before it is used, and where its notifications go.

Judges whether the server may be used, asks it for the rows and the locks that its client wants, and knows
nothing of retries; that is client.py's.
"""

import asyncio
from typing import Any

from ovn_docker.errors import DatabaseError
from ovn_docker.ovsdb.connection import Connection
from ovn_docker.ovsdb.locks import Locks
from ovn_docker.ovsdb.replica import Replica, Watch
from ovn_docker.ovsdb.values import optional

OPEN_TIMEOUT = 30.0
"""Seconds for a server to say what it serves, to send what is watched and to answer for the locks.

The probe of the connection finds out sooner whether it answers at all. A server that is busy, with all of its
clients after a restart, is not to be asked again by each of them: it would do that work too.
"""

NOT_LEADER = "the server is not the leader of its cluster; name all members"
"""Why a member of a cluster is not used that answers and has the database."""


class Opening:
    """One connection from its first question on.

    Attributes:
        model: ``standalone``, ``clustered`` or ``relay``, as the server says; "" before it has said so.
    """

    def __init__(self, database: str, replica: Replica, locks: Locks, connection: Connection) -> None:
        self._database = database
        self._replica = replica
        self._locks = locks
        self._connection = connection
        self.model = ""
        self._server = Replica(
            {"Database": Watch(("model", "connected", "leader"), (("name", "==", database),))}
        )

    async def open(self) -> None:
        """Find out whether the server may be used, then watch the database and ask for the locks.

        Raises:
            DatabaseError: it lacks the database, or is not its leader.
        """
        async with asyncio.timeout(OPEN_TIMEOUT):
            self._server.reset(
                await self._connection.call("monitor_cond", ["_Server", "_Server", self._server.request()])
            )
            if why := self._unusable():
                raise DatabaseError(why)
            if self._replica.watches:
                request = self._replica.request()
                self._replica.reset(
                    await self._connection.call("monitor_cond", [self._database, self._database, request])
                )
            await self._locks.open(self._connection)

    def notify(self, method: str, params: list[Any]) -> None:
        """Take a notification: of what is watched, of a lock, or that the server is of no more use."""
        if method in {"locked", "stolen"}:
            self._locks.notify(method, params)
        if method != "update2":
            return
        watched, updates = params
        if watched == self._database:
            self._replica.update(updates)
            return
        self._server.update(updates)
        if why := self._unusable():
            self._connection.close(why)

    def _unusable(self) -> str:
        """Why the server cannot take transactions, or "".

        ovsdb-server(5), table Database of _Server: "leader" says that a clustered database is written here.
        """
        rows = list(self._server.rows("Database").values())
        if not rows:
            return f"the server has no database {self._database}"
        row = rows[0]
        self.model = str(row.get("model", ""))
        if row.get("model") != "standalone" and not optional(row.get("connected", False)):
            return "the server has lost its cluster"
        if row.get("model") == "clustered" and not row.get("leader"):
            return NOT_LEADER
        return ""
