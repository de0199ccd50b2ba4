"""The locks of a database that one client wants, and which of them it has (RFC 7047 section 4.1.8).

A lock belongs to a connection: the server frees it when that ends, and it is asked for again on the next. It
binds nobody by itself; a transaction that begins with `operations.assert_lock` is refused without it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakValueDictionary

from ovn_docker.ovsdb.connection import Connection, ConnectionLostError


class Lock:
    """One lock that is wanted.

    Attributes:
        name: as the server knows it.
        steal: whether it is taken from whoever has it.
        held: whether it is ours, as far as the server has told.
    """

    def __init__(self, name: str, *, steal: bool) -> None:
        self.name = name
        self.steal = steal
        self.asked = False
        self._held = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether it is ours, as far as the server has told."""
        return self._held.is_set()

    async def acquired(self) -> None:
        """Wait until it is ours, without limit."""
        await self._held.wait()

    def tell(self, *, held: bool) -> None:
        """Take note of what the server says."""
        if held:
            self._held.set()
        else:
            self._held.clear()


class Locks:
    """The locks of one client, whichever connection it has."""

    def __init__(self) -> None:
        self._wanted: dict[str, Lock] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._connection: Connection | None = None

    @contextlib.asynccontextmanager
    async def wanted(self, name: str, *, steal: bool) -> AsyncIterator[Lock]:
        """Want a lock; with a connection it has been asked for when this is entered.

        Args:
            name: letters, digits and underscores (RFC 7047 section 3.1, <id>). A server gives one client the
                same lock once, so who wants it here while another part of this process does waits until then.
            steal: take it from whoever has it.

        Raises:
            DatabaseError: the server refused to hear of it.
        """
        async with self._turns.setdefault(name, asyncio.Lock()):
            lock = self._wanted[name] = Lock(name, steal=steal)
            try:
                with contextlib.suppress(ConnectionLostError):  # the next connection asks for it
                    await self._ask(lock)
                yield lock
            finally:
                del self._wanted[name]
                if self._connection is not None and lock.asked:
                    self._connection.post("unlock", [name])

    async def open(self, connection: Connection) -> None:
        """Ask for all that is wanted on a new connection."""
        self._connection = connection
        for lock in list(self._wanted.values()):
            await self._ask(lock)

    def lost(self) -> None:
        """Take note that the connection ended, and all locks with it."""
        self._connection = None
        for lock in self._wanted.values():
            lock.asked = False
            lock.tell(held=False)

    def notify(self, method: str, params: list[Any]) -> None:
        """Take the notification "locked" or "stolen" (RFC 7047 sections 4.1.9 and 4.1.10)."""
        lock = self._wanted.get(params[0])
        if lock is not None:
            lock.tell(held=method == "locked")

    async def _ask(self, lock: Lock) -> None:
        if self._connection is None or lock.asked:
            return
        lock.asked = True
        answer = await self._connection.call("steal" if lock.steal else "lock", [lock.name])
        if lock.asked:
            lock.tell(held=isinstance(answer, dict) and answer.get("locked") is True)
