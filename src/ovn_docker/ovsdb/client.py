"""A client of one database: it stays connected, follows the leader, and repeats what was not answered.

A transaction may be carried out twice when the connection breaks at the wrong moment (ovsdb(7),
"Understanding Cluster Consistency": at least once). So all of ours are safe to repeat: row ids follow from
what a row stands for.
"""

import asyncio
import itertools
import logging
import os
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from ovn_docker.errors import DatabaseError, OvnDockerError, UnreachableError
from ovn_docker.ovsdb.connection import Connection, ConnectionLostError, connect
from ovn_docker.ovsdb.locks import Lock, Locks
from ovn_docker.ovsdb.operations import Operation, check, optional
from ovn_docker.ovsdb.remotes import Remote, TlsFiles, handshake_failure, socket_failure
from ovn_docker.ovsdb.replica import Replica, Watch

# --- Transactions that undo what a caller abandoned, carried out as soon as there is a server. --------------
# Nobody waits for them. Their number is limited, for an outage may last; what they would have removed, the
# health check finds too.


MAX_QUEUED = 1000
"""Undo transactions that are kept; one takes about 1 kB."""

MAX_UNANSWERED = 16
"""Undo transactions that are sent before the first is answered."""


class UndoQueue:
    """The undo transactions of one client, in their order; `carry_out` waits for a server."""

    def __init__(self, title: str, carry_out: Callable[[Sequence[Operation]], Awaitable[object]]) -> None:
        self._title = title
        self._carry_out = carry_out
        self._waiting: dict[str, Sequence[Operation]] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._logged = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def add(self, undo: Sequence[Operation]) -> None:
        """Carry out a transaction, unless an equal one waits already; that it is refused does not matter."""
        # Equal ones name the same row and owner. Two of one row may be of different requests, and both count.
        key = repr(undo)
        if key in self._waiting:
            return
        if len(self) >= MAX_QUEUED:
            if not self._logged:
                LOG.warning(
                    "%s: %d changes wait to be undone, and no more are kept: until it is back, further ones"
                    " are left to the health check, or to 'ovn-docker repair'",
                    self._title,
                    MAX_QUEUED,
                )
            self._logged = True
            return
        self._waiting[key] = undo
        if key not in self._under_way:  # that one may be too early for what was abandoned since
            self._start()

    def _start(self) -> None:
        """Send the next ones, up to the limit."""
        for key in list(itertools.islice(self._waiting, MAX_UNANSWERED - len(self._under_way))):
            if key not in self._under_way:
                self._under_way[key] = asyncio.ensure_future(self._work(key, self._waiting.pop(key)))

    async def _work(self, key: str, undo: Sequence[Operation]) -> None:
        try:
            await self._carry_out(undo)
        except DatabaseError as error:
            LOG.debug("%s: there was nothing to undo: %s", self._title, error)
        except Exception as error:
            LOG.debug("%s", self._title, exc_info=error)
            LOG.warning("%s: a change could not be undone: %r", self._title, error)
        del self._under_way[key]
        self._logged = self._logged and bool(self._waiting)
        self._start()


# --- A connection that is opened and used. ------------------------------------------------------------------


OPEN_TIMEOUT = 30.0
"""Seconds for a server to say what it serves, to send what is watched and to answer about the locks.

The connection's probe finds out sooner whether it answers at all. A server that is busy with all of its
clients after a restart must not be asked again by each of them: it would do that work too.
"""

NOT_LEADER = "the server is not the leader of its cluster; name all members"
"""Why a cluster's member is not used although it answers and has the database."""


class Session:
    """The use of one connection: whether the server can be used, what is watched, where notifications go.

    Attributes:
        model: ``standalone``, ``clustered`` or ``relay``, as the server says; "" before that.
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
        """Watch the database and ask for the locks, if the server can be used; else DatabaseError."""
        async with asyncio.timeout(OPEN_TIMEOUT):
            self._server.reset(
                await self._connection.call("monitor_cond", ["_Server", "_Server", self._server.request()])
            )
            if reason := self._unusable():
                raise DatabaseError(reason)
            if self._replica.watches:
                request = self._replica.request()
                self._replica.reset(
                    await self._connection.call("monitor_cond", [self._database, self._database, request])
                )
            await self._locks.open(self._connection)

    def notify(self, method: str, params: list[Any]) -> None:
        """Take a notification of watched rows, of a lock, or of the server's own state."""
        if method in {"locked", "stolen"}:
            self._locks.notify(method, params)
        if method != "update2":
            return
        monitor, updates = params
        if monitor == self._database:
            self._replica.update(updates)
            return
        self._server.update(updates)
        if reason := self._unusable():
            self._connection.close(reason)

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
            return "the server has lost contact with its cluster"
        if row.get("model") == "clustered" and not row.get("leader"):
            return NOT_LEADER
        return ""


LOG = logging.getLogger(__name__)

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between two attempts at most; doubled from the first to the longest while none succeeds.

A pause is a random part of that, because all clients of a server lose it at the same moment.
"""

SETTLE_PAUSE = 0.01
"""Seconds for `run` to notice a lost connection before a transaction is sent again."""

SILENCE = 2.0
"""Seconds after which a server that owes an answer counts as an outage, and after which an outage is logged.

The probe ends the connection later.
"""

OUTAGE_TIMEOUT = 9.0
"""Seconds that the first request in an outage waits for its end: as long as a verb of Docker's may take.

Requests that come meanwhile wait until then too, later ones hardly. So dockerd, which at its start asks one
thing after the other and waits for each answer, is held up once and not once for each container, even where
it starts long after the driver.
"""

LATE_TIMEOUT = 0.25
"""Seconds that a request waits later in an outage; it has the server tried at once."""

CLUSTER_ERROR = "cluster error"
"""The answer of a server that lost its leadership during the transaction (ovs ovsdb/storage.c)."""


class Client:
    """One database, wherever it is served just now: `redirect` says where, and `run` connects.

    Attributes:
        replica: the rows that are watched.
        tls: files for ``ssl:``, as `redirect` named them.
        own_tls: files for ``ssl:`` in place of those; to be set before.
        probe_interval: seconds of silence after which a server is probed, 0 for never, None for the default;
            to be set before.
        model: what kind of server it was last, as in `Session`.
        answered: called after each transaction with the seconds that its reply took.
        service: the systemd unit that starts a server on this machine, for people, or "".
        admit: awaited before each `request` and each undo transaction; raises to refuse it.
    """

    def __init__(
        self, title: str, database: str, watches: Mapping[str, Watch], outage_timeout: float = OUTAGE_TIMEOUT
    ) -> None:
        """Set up a client.

        Args:
            title: for people, as "OVN Northbound".
            database: its name in OVSDB, as "OVN_Northbound".
            watches: what `replica` holds, by table.
            outage_timeout: in place of `OUTAGE_TIMEOUT`.
        """
        self.title = title
        self.database = database
        self.replica = Replica(watches)
        self.remotes: tuple[Remote, ...] = ()
        self._order: list[Remote] = []
        self.tls: TlsFiles | None = None
        self.own_tls: TlsFiles | None = None
        self.probe_interval: float | None = None
        self.service = ""
        self.admit: Callable[[], Awaitable[object]] | None = None
        self._reason = "not tried yet"
        self._nowhere = "its address is not known yet"
        self._connection: Connection | None = None  # that serves transactions
        self._attempt: Connection | None = None  # that, or one that is being opened
        self._outage_timeout = outage_timeout
        self._away_since: float | None = None
        self._waited_since: float | None = None
        self._moved = asyncio.Event()
        self._hurry = asyncio.Event()
        self._logged: set[str] = set()
        self._ready = asyncio.Event()
        self._undoing = UndoQueue(title, partial(self._carry_out, wait=partial(self._admitted, self.ready)))
        self.model = ""
        self.answered: Callable[[float], object] = lambda _seconds: None
        self._when_connected: list[Callable[[], object]] = []
        self._locks = Locks()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def answers(self) -> bool:
        """Whether the database is connected and has not owed an answer for long."""
        return not self.outage()

    def outage(self) -> str:
        """Why the database cannot be reached or does not answer, as one line, or "" when it does."""
        if self._connection is not None:
            silence = self._connection.silence
            if silence < SILENCE:
                return ""
            return f"{self.title} at {', '.join(map(str, self.remotes))} has not answered for {silence:.0f} s"
        if not self.remotes:
            return f"{self.title} cannot be reached: {self._nowhere}"
        return f"{self.title} cannot be reached at {', '.join(map(str, self.remotes))}: {self._reason}"

    def redirect(self, remotes: tuple[Remote, ...], tls: TlsFiles | None = None, nowhere: str = "") -> None:
        """Say where the database is; a change takes effect at once.

        Args:
            remotes: the servers of a cluster in any order, or none.
            tls: files for ``ssl:``.
            nowhere: without remotes, the reason, for `outage`.
        """
        self._nowhere = nowhere
        tls = self.own_tls or tls
        if (remotes, tls) == (self.remotes, self.tls):
            return
        self.remotes, self.tls, self._reason = remotes, tls, "not tried yet"
        # Only asking shows which server is the leader, so any order will do.
        self._order = random.sample(remotes, len(remotes))
        self._away_since, self._waited_since = time.monotonic(), None
        self._moved.set()
        self._hurry.set()
        if self._attempt is not None:
            self._attempt.close("its address changed")

    def when_connected(self, call: Callable[[], object]) -> None:
        """Call this each time that the database is connected from now on."""
        self._when_connected.append(call)

    async def ready(self) -> None:
        """Wait until transactions are served, without limit."""
        await self._ready.wait()

    async def reached(self, seconds: float) -> None:
        """Wait until transactions are served, for so many seconds.

        Raises:
            UnreachableError: with the text of `outage`.
        """
        try:
            async with asyncio.timeout(seconds):
                await self.ready()
        except TimeoutError:
            raise UnreachableError(self.outage() or f"{self.title} does not answer") from None

    async def available(self) -> None:
        """Wait until transactions are served, for as long as an outage allows (`OUTAGE_TIMEOUT`,
        `LATE_TIMEOUT`).

        Raises:
            UnreachableError: with the text of `outage`.
        """
        if self._ready.is_set():
            return
        now = time.monotonic()
        if self._waited_since is None:
            self._waited_since = now
        left = self._waited_since + self._outage_timeout - now
        try:
            async with asyncio.timeout(max(left, LATE_TIMEOUT)):
                if left < 0:
                    self._hurry.set()
                await self._ready.wait()
        except TimeoutError:
            raise UnreachableError(self.outage()) from None

    def lock(self, name: str, *, steal: bool = False) -> AbstractAsyncContextManager[Lock]:
        """Want a lock of the database for as long as the context lasts, across reconnections; see
        `Locks.wanted`.

        A new connection serves transactions only after the locks that were wanted before have been asked for.
        """
        return self._locks.wanted(name, steal=steal)

    async def transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Carry out one transaction and return a result for each operation.

        Waits without limit for a server, so the caller sets one.

        Args:
            operations: the transaction.
            undo: what reverts it, or does nothing where it was not carried out. A server that hangs may carry
                it out after the caller was cancelled; this is sent after it then.

        Raises:
            DatabaseError: the database refused; nothing was changed.
        """
        return await self._carry_out(operations, undo, wait=self.ready)

    async def request(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Do what `transact` does, for Docker or a person: waits no longer than `available`, and asks
        `admit`.

        Raises:
            DatabaseError: the database refused; nothing was changed.
            UnreachableError: there has been no server for long; `undo` is sent when there is one.
        """
        return await self._carry_out(operations, undo, wait=partial(self._admitted, self.available))

    def take_back(self, undo: Sequence[Operation]) -> None:
        """Carry out a transaction that nobody waits for, as soon as there is a server; it may be refused."""
        self._undoing.add(undo)

    async def _admitted(self, server: Callable[[], Awaitable[None]]) -> None:
        await server()
        if self.admit is not None:
            await self.admit()

    async def _carry_out(
        self,
        operations: Sequence[Operation],
        undo: Sequence[Operation] = (),
        *,
        wait: Callable[[], Awaitable[None]],
    ) -> list[dict[str, Any]]:
        """Send a transaction, after `wait` has found a server, until it is answered."""
        try:
            while True:
                await wait()
                connection = self._connection
                if connection is None:
                    continue
                started = time.monotonic()
                try:
                    results = await connection.call("transact", [self.database, *operations])
                    self.answered(time.monotonic() - started)
                except ConnectionLostError:
                    await asyncio.sleep(SETTLE_PAUSE)
                    continue
                if _lost_its_cluster(results):
                    connection.close("the server is not the leader any more")
                    await asyncio.sleep(FIRST_PAUSE)
                    continue
                return check(results, operations)
        except (asyncio.CancelledError, UnreachableError):
            if undo:
                self.take_back(undo)
            raise

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = FIRST_PAUSE
        self._away_since = time.monotonic()
        while True:
            self._moved.clear()
            self._hurry.clear()
            for remote in list(self._order):
                if await self._stay(remote):
                    pause = FIRST_PAUSE
                if self._moved.is_set():
                    break
            self._log_outage()
            await self._pause(random.uniform(0, pause) if self.remotes else None)  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    def _log_outage(self) -> None:
        """Log each reason of an outage once; a failover is over sooner."""
        since, text = self._away_since, self.outage()
        if (
            self.remotes
            and since is not None
            and time.monotonic() - since > SILENCE
            and text not in self._logged
        ):
            self._logged.add(text)
            LOG.warning("%s", text)

    async def _pause(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    async def _stay(self, remote: Remote) -> bool:
        """Connect and serve until the connection ends; True if it served transactions."""
        served = False
        try:
            connection = await connect(remote, self.tls, self.probe_interval)
            try:
                served = await self._serve(remote, connection)
            finally:
                self._leave(connection)
        except TimeoutError as error:
            self._reason = _error_text(error) if error.args else "the server does not answer"
            self._try_last(remote)
        except (OSError, OvnDockerError, ConnectionLostError) as error:
            self._reason = _socket_failure(remote, error, self.service) or _error_text(error)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # JSON that is not OVSDB's: wherever it is read, it must not end `run`.
            LOG.debug("%s at %s sent what cannot be read", self.title, remote, exc_info=error)
            self._reason = f"the server does not speak OVSDB: {type(error).__name__}: {error}"
        if served:
            LOG.warning("%s at %s: connection lost: %s", self.title, remote, self._reason)
        return served

    async def _serve(self, remote: Remote, connection: Connection) -> bool:
        session = Session(self.database, self.replica, self._locks, connection)
        self._attempt = connection
        reading = asyncio.ensure_future(connection.serve(session.notify))
        opening = asyncio.ensure_future(session.open())
        try:
            await asyncio.wait({reading, opening}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                reading.result()
            opening.result()
            self.model = session.model
            self._connection, self._away_since, self._waited_since = connection, None, None
            self._logged.clear()
            self._ready.set()
            LOG.info("%s is served by %s", self.title, remote)
            for call in self._when_connected:
                call()
            self._reason = await self._ended(remote, reading)
            return True
        finally:
            connection.close("the session ended")
            opening.cancel()
            reading.cancel()
            await asyncio.wait({reading, opening})

    async def _ended(self, remote: Remote, reading: "asyncio.Future[None]") -> str:
        try:
            await reading
        except (OSError, DatabaseError) as error:
            if isinstance(error, TimeoutError):
                self._try_last(remote)
            return _error_text(error)
        return "the connection was closed"

    def _try_last(self, remote: Remote) -> None:
        """Try a server that did not answer after the others: each attempt costs seconds."""
        if remote in self._order:
            self._order.remove(remote)
            self._order.append(remote)

    def _leave(self, connection: Connection) -> None:
        self._ready.clear()
        if self._away_since is None:
            self._away_since = time.monotonic() - connection.silence
            self._waited_since = self._away_since if connection.silence else None
        self._connection = self._attempt = None
        self._locks.lost()
        connection.close(self._reason)
        self.replica.wake()


def _lost_its_cluster(results: Any) -> bool:  # noqa: ANN401  (a JSON value)
    return isinstance(results, list) and any(
        isinstance(result, dict) and result.get("error") == CLUSTER_ERROR for result in results
    )


def _socket_failure(remote: Remote, error: Exception, service: str) -> str:
    if remote.method != "unix" or not isinstance(error, OSError):
        return ""
    return socket_failure(remote.address, error, service)


def _error_text(error: BaseException) -> str:
    """The short text of an error; for OSError the system's, without numbers."""
    if isinstance(error, ssl.SSLError):
        return handshake_failure(error)
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:  # the negative ones are getaddrinfo's
        return os.strerror(number)  # asyncio says "Connect call failed ('10.0.0.1', 6641)"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
