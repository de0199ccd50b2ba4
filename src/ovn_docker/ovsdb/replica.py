"""The few rows and columns that are watched, kept in memory by update notifications. No I/O.

Holds what ovsdb-server sends for one "monitor_cond", and wakes those that wait for a change. It is discarded
and sent again with each connection.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from ovn_docker.ovsdb.operations import Condition, Row, merge

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watch:
    """What of a table is watched.

    Attributes:
        columns: none may hold more than one value unless it is a map (see `operations.merge`).
        where: conditions that a row must meet; none means every row.
    """

    columns: tuple[str, ...]
    where: tuple[Condition, ...] = ()


class Replica:
    """Watched rows by table and row id.

    Attributes:
        changes: how often something has changed; for caches of what is computed from it.
    """

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self.watches = dict(watches)
        self._tables: dict[str, dict[UUID, Row]] = {table: {} for table in watches}
        self._waiting: set[asyncio.Future[None]] = set()
        self.changes = 0

    def rows(self, table: str) -> Mapping[UUID, Row]:
        return self._tables[table]

    def row(self, table: str, uuid: UUID) -> Row | None:
        """One row, or None if it does not exist or is not watched."""
        return self._tables[table].get(uuid)

    def request(self) -> dict[str, Any]:
        """The third parameter of "monitor_cond" (ovsdb-server(7), section 4.1.12)."""
        return {
            table: [{"columns": list(watch.columns)} | ({"where": list(watch.where)} if watch.where else {})]
            for table, watch in self.watches.items()
        }

    def reset(self, updates: Mapping[str, Any]) -> None:
        """Take the reply of "monitor_cond", which holds all watched rows."""
        for rows in self._tables.values():
            rows.clear()
        self.update(updates)

    def update(self, updates: Mapping[str, Any]) -> None:
        """Take one <table-updates2> (ovsdb-server(7), section 4.1.14)."""
        self.changes += 1
        for table, changes in updates.items():
            rows = self._tables[table]
            for uuid, change in changes.items():
                _apply(rows, UUID(uuid), change)
        self.wake()

    def wake(self) -> None:
        """Let every `until` look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, look: Callable[[], T | None]) -> T:
        """Wait without limit for what `look`, which is called now and after every change, returns."""
        while (found := look()) is None:
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)
        return found


def _apply(rows: dict[UUID, Row], uuid: UUID, change: Mapping[str, Any]) -> None:
    if "delete" in change:
        rows.pop(uuid, None)
    elif "modify" in change:
        row = rows.setdefault(uuid, {})
        for column, difference in change["modify"].items():
            row[column] = merge(row.get(column, ["set", []]), difference)
    else:
        rows[uuid] = dict(change.get("initial") or change.get("insert") or {})
