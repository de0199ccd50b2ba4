"""A client of one database: it stays connected, follows the leader, and repeats what a lost reply left open.

A transaction given here may be carried out twice when the connection breaks at the wrong moment (ovsdb(7),
"Understanding Cluster Consistency": at least once). So every one of ours is safe to repeat: its rows have
ids that follow from what they stand for.
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
from ovn_docker.ovsdb import remotes as local_socket
from ovn_docker.ovsdb.connection import Connection, ConnectionLostError, connect
from ovn_docker.ovsdb.locks import Lock, Locks
from ovn_docker.ovsdb.operations import Operation, check, optional
from ovn_docker.ovsdb.remotes import Remote, TlsFiles, handshake_failure
from ovn_docker.ovsdb.replica import Replica, Watch

# --- Transactions that take back what was given up, carried out as soon as there is a server. ---------------
# Nobody waits for them. There is a limit to how many are kept, for an outage may last, and whatever is left
# behind is found by the health check too.


LIMIT = 1000
"""How many are kept; one takes about 1 kB."""

AT_ONCE = 16
"""How many are sent before the first is answered."""


class UndoQueue:
    """Those of one client, in the order in which they came."""

    def __init__(self, title: str, carry_out: Callable[[Sequence[Operation]], Awaitable[object]]) -> None:
        """Nothing is to be taken back.

        Args:
            title: the database, for people.
            carry_out: does one, when there is a server.
        """
        self._title = title
        self._carry_out = carry_out
        self._waiting: dict[str, Sequence[Operation]] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._told = False

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._waiting) + len(self._under_way)

    def add(self, undo: Sequence[Operation]) -> None:
        """Carry out one, or the one that is the same and waits already; a refusal is fine."""
        # It names its row, and whose it must be: two of one row may be of different requests, and both count.
        key = repr(undo)
        if key in self._waiting:
            return
        if len(self) >= LIMIT:
            self._tell()
            return
        self._waiting[key] = undo
        if key not in self._under_way:  # that one may be too early for what was given up since
            self._start()

    def _start(self) -> None:
        """Begin the next ones, as far as there is room."""
        for key in list(itertools.islice(self._waiting, AT_ONCE - len(self._under_way))):
            if key not in self._under_way:
                self._under_way[key] = asyncio.ensure_future(self._work(key, self._waiting.pop(key)))

    def _tell(self) -> None:
        if not self._told:
            LOG.warning(
                "%s: %d changes wait to be taken back, and no more are kept: what else is given up until it"
                " is back is left to the health check, or to 'ovn-docker repair'",
                self._title,
                LIMIT,
            )
        self._told = True

    async def _work(self, key: str, undo: Sequence[Operation]) -> None:
        try:
            await self._carry_out(undo)
        except DatabaseError as error:
            LOG.debug("%s: there was nothing to take back: %s", self._title, error)
        except Exception as error:
            LOG.debug("%s", self._title, exc_info=error)
            LOG.warning("%s: a change is not taken back: %r", self._title, error)
        del self._under_way[key]
        self._told = self._told and bool(self._waiting)
        self._start()


# --- What is asked of a server before it is used, and where its notifications go. ---------------------------
# Judges whether the server may be used, asks it for the rows and the locks that its client wants, and knows
# nothing of retries; that is client.py's.


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


LOG = logging.getLogger(__name__)

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between two attempts at most; doubled from the first to the longest while none succeeds.

A pause is a random part of that, for all clients of a server lose it at the same moment.
"""

SETTLE_PAUSE = 0.01
"""Seconds for a lost connection to be noticed by `run` before a transaction is sent again."""

SILENCE = 2.0
"""Seconds after which a server that owes an answer is spoken of as an outage; the probe ends it later.

An outage that lasts longer is told in the log.
"""

PATIENCE = 9.0
"""Seconds for which the first request in an outage waits for its end: as long as a verb of Docker's may take.

Who asks meanwhile waits until then too, who asks later hardly. dockerd, which at its start asks one thing
after the other and waits for each answer, is held up once and not once for each container, and that also
where it starts long after the driver.
"""

SHORT_PATIENCE = 0.25
"""Seconds that a request waits later in an outage; it has the server tried at once."""

CLUSTER_ERROR = "cluster error"
"""What a server answers that lost its leadership with the transaction in hand (ovs ovsdb/storage.c)."""


class Client:
    """One database, wherever it is served just now.

    Attributes:
        tls: files for ``ssl:``, as `redirect` named them.
        own_tls: files for ``ssl:`` in place of those; to be set before.
        probe_interval: seconds of silence after which a server is probed, 0 for never, None for the default;
            to be set before.
        model: what kind of server it was at last, as `Opening` has it.
        answered: told of each transaction how many seconds its reply took.
        service: the unit that starts a server on this machine, for people, or "".
        admit: waited for before each `request` and each transaction that is taken back; raises to refuse it.
    """

    def __init__(
        self, title: str, database: str, watches: Mapping[str, Watch], patience: float = PATIENCE
    ) -> None:
        """Name what is to be reached; `redirect` says where and `run` goes there.

        Args:
            title: for people, as "OVN Northbound".
            database: its name in OVSDB, as "OVN_Northbound".
            watches: what `replica` holds, by table.
            patience: seconds for which the first request in an outage waits for its end.
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
        self._why = "not tried yet"
        self._nowhere = "its address is not known yet"
        self._connection: Connection | None = None
        self._session: Connection | None = None
        self._patience = patience
        self._away_since: float | None = None
        self._waited_since: float | None = None
        self._moved = asyncio.Event()
        self._hurry = asyncio.Event()
        self._told: set[str] = set()
        self._ready = asyncio.Event()
        self._undoing = UndoQueue(title, partial(self._carry_out, server=partial(self._admitted, self.ready)))
        self.model = ""
        self.answered: Callable[[float], object] = lambda _seconds: None
        self._when_connected: list[Callable[[], object]] = []
        self._locks = Locks()

    @property
    def connected(self) -> bool:
        """Whether transactions are being served."""
        return self._connection is not None

    def answers(self) -> bool:
        """Whether the database is connected and owes no answer for long."""
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
        return f"{self.title} cannot be reached at {', '.join(map(str, self.remotes))}: {self._why}"

    def redirect(self, remotes: tuple[Remote, ...], tls: TlsFiles | None = None, why: str = "") -> None:
        """Say where the database is; a change takes effect at once.

        Args:
            remotes: the servers of a cluster in any order, or none.
            tls: files for ``ssl:``.
            why: with no remotes, the reason, for `outage`.
        """
        self._nowhere = why
        tls = self.own_tls or tls
        if (remotes, tls) == (self.remotes, self.tls):
            return
        self.remotes, self.tls, self._why = remotes, tls, "not tried yet"
        # Who is the leader shows when a server is asked, so each of the others is as good as the next.
        self._order = random.sample(remotes, len(remotes))
        self._away_since, self._waited_since = time.monotonic(), None
        self._moved.set()
        self._hurry.set()
        if self._session is not None:
            self._session.close("its address changed")

    def when_connected(self, call: Callable[[], object]) -> None:
        """Call this each time that transactions are served from now on."""
        self._when_connected.append(call)

    async def ready(self) -> None:
        """Wait until transactions are served, without limit."""
        await self._ready.wait()

    async def available(self) -> None:
        """Wait until transactions are served; where others have waited in vain already, for one more attempt.

        Raises:
            UnreachableError: they are not; the text is `outage`'s.
        """
        if self._ready.is_set():
            return
        now = time.monotonic()
        if self._waited_since is None:
            self._waited_since = now
        left = self._waited_since + self._patience - now
        try:
            async with asyncio.timeout(max(left, SHORT_PATIENCE)):
                if left < 0:
                    self._hurry.set()
                await self._ready.wait()
        except TimeoutError:
            raise UnreachableError(self.outage()) from None

    def lock(self, name: str, *, steal: bool = False) -> AbstractAsyncContextManager[Lock]:
        """Want a lock of the database as long as the context lasts, on whichever connection there is.

        A connection is of use to others only after the locks that were wanted before it were asked for.

        Args:
            name: letters, digits and underscores.
            steal: take it from whoever has it.
        """
        return self._locks.wanted(name, steal=steal)

    async def transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Carry out one transaction and return a result for each operation.

        Waits without limit for a server, so the caller sets one.

        Args:
            operations: the transaction.
            undo: what takes it back, or does nothing where it was not carried out. A server that hangs may
                carry it out after the caller has given up; this is sent after it then.

        Raises:
            DatabaseError: the database refused; nothing was changed.
        """
        return await self._carry_out_or_undo(operations, undo, self.ready)

    async def request(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Likewise for one who is waited for, and who therefore waits for a server as `available` does.

        Raises:
            DatabaseError: the database refused; nothing was changed.
            UnreachableError: there is no server and has been none for long; `undo` is sent when there is one.
        """
        return await self._carry_out_or_undo(operations, undo, partial(self._admitted, self.available))

    async def _admitted(self, server: Callable[[], Awaitable[None]]) -> None:
        """Wait for a server in one of the two ways, and then to be let in."""
        await server()
        if self.admit is not None:
            await self.admit()

    async def _carry_out_or_undo(
        self,
        operations: Sequence[Operation],
        undo: Sequence[Operation],
        server: Callable[[], Awaitable[None]],
    ) -> list[dict[str, Any]]:
        try:
            return await self._carry_out(operations, server)
        except (asyncio.CancelledError, UnreachableError):
            if undo:
                self.take_back(undo)
            raise

    def take_back(self, undo: Sequence[Operation]) -> None:
        """Carry out a transaction that nobody waits for, as soon as there is a server; a refusal is fine."""
        self._undoing.add(undo)

    async def _carry_out(
        self, operations: Sequence[Operation], server: Callable[[], Awaitable[None]]
    ) -> list[dict[str, Any]]:
        while True:
            await server()
            connection = self._connection
            if connection is None:
                continue
            asked = time.monotonic()
            try:
                results = await connection.call("transact", [self.database, *operations])
                self.answered(time.monotonic() - asked)
            except ConnectionLostError:
                await asyncio.sleep(SETTLE_PAUSE)
                continue
            if _lost_its_cluster(results):
                connection.close("the server is not the leader any more")
                await asyncio.sleep(FIRST_PAUSE)
                continue
            return check(results, operations)

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
            self._tell()
            await self._pause(random.uniform(0, pause) if self.remotes else None)  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    def _tell(self) -> None:
        """Log each reason of an outage once; not of a failover, which is over sooner."""
        since, text = self._away_since, self.outage()
        if (
            self.remotes
            and since is not None
            and time.monotonic() - since > SILENCE
            and text not in self._told
        ):
            self._told.add(text)
            LOG.warning("%s", text)

    async def _pause(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    async def _stay(self, remote: Remote) -> bool:
        """Connect and serve until it ends; True when it was of use."""
        served = False
        try:
            connection = await connect(remote, self.tls, self.probe_interval)
            try:
                served = await self._serve(remote, connection)
            finally:
                self._leave(connection)
        except TimeoutError as error:
            self._why = _reason(error) if error.args else "the server does not answer"
            self._try_last(remote)
        except (OSError, OvnDockerError, ConnectionLostError) as error:
            self._why = _local_reason(remote, error, self.service) or _reason(error)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # JSON of another shape than OVSDB's: wherever it is read, it must not end `run`.
            LOG.debug("%s at %s sent what cannot be read", self.title, remote, exc_info=error)
            self._why = f"the server does not speak OVSDB: {type(error).__name__}: {error}"
        if served:
            LOG.warning("%s at %s is lost: %s", self.title, remote, self._why)
        return served

    async def _serve(self, remote: Remote, connection: Connection) -> bool:
        session = Opening(self.database, self.replica, self._locks, connection)
        self._session = connection
        reading = asyncio.ensure_future(connection.serve(session.notify))
        opening = asyncio.ensure_future(session.open())
        try:
            await asyncio.wait({reading, opening}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                reading.result()
            opening.result()
            self.model = session.model
            self._connection, self._away_since, self._waited_since = connection, None, None
            self._told.clear()
            self._ready.set()
            LOG.info("%s is served by %s", self.title, remote)
            for call in self._when_connected:
                call()
            self._why = await self._ended(remote, reading)
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
            return _reason(error)
        return "the connection was closed"

    def _try_last(self, remote: Remote) -> None:
        """Try a server that did not answer after the others: it costs seconds each time."""
        if remote in self._order:
            self._order.remove(remote)
            self._order.append(remote)

    def _leave(self, connection: Connection) -> None:
        self._ready.clear()
        if self._away_since is None:
            self._away_since = time.monotonic() - connection.silence
            self._waited_since = self._away_since if connection.silence else None
        self._connection = self._session = None
        self._locks.lost()
        connection.close(self._why)
        self.replica.wake()


def _lost_its_cluster(results: Any) -> bool:  # noqa: ANN401  (a JSON value)
    return isinstance(results, list) and any(
        isinstance(result, dict) and result.get("error") == CLUSTER_ERROR for result in results
    )


def _local_reason(remote: Remote, error: Exception, service: str) -> str:
    if remote.method != "unix" or not isinstance(error, OSError):
        return ""
    return local_socket.explain(remote.address, error, service)


def _reason(error: BaseException) -> str:
    """The short text of an error: for OSError what the system says, without numbers."""
    if isinstance(error, ssl.SSLError):
        return handshake_failure(error)
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:  # the negative ones are getaddrinfo's
        return os.strerror(number)  # asyncio says "Connect call failed ('10.0.0.1', 6641)"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
