"""The locks of a database that one client wants, and which of them it has (RFC 7047 section 4.1.8).

A lock belongs to a connection: the server frees it when that ends, and it is asked for again on the next. It
is advisory; a transaction that begins with `operations.assert_lock` is refused without it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakValueDictionary

from ovn_docker.ovsdb.connection import Connection, ConnectionLostError


class Lock:
    """One lock that is wanted."""

    def __init__(self, name: str, *, steal: bool) -> None:
        self.name = name
        self.steal = steal
        self.requested = False
        self._held = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether it is ours, as far as the server has reported."""
        return self._held.is_set()

    async def acquired(self) -> None:
        """Wait until it is ours, without limit."""
        await self._held.wait()

    def set_held(self, *, held: bool) -> None:
        if held:
            self._held.set()
        else:
            self._held.clear()


class Locks:
    """The locks of one client, across its connections."""

    def __init__(self) -> None:
        self._wanted: dict[str, Lock] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._connection: Connection | None = None

    @contextlib.asynccontextmanager
    async def wanted(self, name: str, *, steal: bool) -> AsyncIterator[Lock]:
        """Want a lock for as long as the context lasts; on a connection it is requested before the entry.

        Args:
            name: letters, digits and underscores (RFC 7047 section 3.1, <id>). A server gives one client the
                same lock once, so two parts of this process that want it take turns.
            steal: take it from whoever has it.

        Raises:
            DatabaseError: the server refused the request.
        """
        async with self._turns.setdefault(name, asyncio.Lock()):
            lock = self._wanted[name] = Lock(name, steal=steal)
            try:
                with contextlib.suppress(ConnectionLostError):  # it is requested on the next connection
                    await self._request(lock)
                yield lock
            finally:
                del self._wanted[name]
                if self._connection is not None and lock.requested:
                    self._connection.post("unlock", [name])

    async def open(self, connection: Connection) -> None:
        """Request all that are wanted on a new connection."""
        self._connection = connection
        for lock in list(self._wanted.values()):
            await self._request(lock)

    def lost(self) -> None:
        """Note that the connection ended, and all locks with it."""
        self._connection = None
        for lock in self._wanted.values():
            lock.requested = False
            lock.set_held(held=False)

    def notify(self, method: str, params: list[Any]) -> None:
        """Take the notification "locked" or "stolen" (RFC 7047 sections 4.1.9 and 4.1.10)."""
        lock = self._wanted.get(params[0])
        if lock is not None:
            lock.set_held(held=method == "locked")

    async def _request(self, lock: Lock) -> None:
        if self._connection is None or lock.requested:
            return
        lock.requested = True
        answer = await self._connection.call("steal" if lock.steal else "lock", [lock.name])
        if lock.requested:
            lock.set_held(held=isinstance(answer, dict) and answer.get("locked") is True)
