"""What is asked of Northbound, and what is answered while it is away; by a clock that the test moves."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest

from ovn_docker.dns import name_cache
from ovn_docker.dns.name_cache import NameCache
from ovn_docker.errors import UnreachableError

WEB, MAIL, GONE = UUID(int=1), UUID(int=2), UUID(int=3)


class Northbound:
    """Rows in memory, that can be slow or away."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Mapping[str, str]] = {WEB: {"e1": "10.77.0.5"}, MAIL: {"e2": "10.77.0.6"}}
        self.reads: list[list[UUID]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.away = False
        self.now = 100.0

    async def read(self, keys: Sequence[UUID]) -> Mapping[UUID, Mapping[str, str]]:
        self.reads.append(list(keys))
        rows = {key: self.rows[key] for key in keys if key in self.rows}
        await self.open.wait()
        if self.away:
            raise UnreachableError("OVN Northbound is away")
        return rows

    def clock(self) -> float:
        return self.now

    async def turns(self, number: int = 5) -> None:
        for _ in range(number):
            await asyncio.sleep(0)


@pytest.fixture
async def northbound() -> Northbound:
    return Northbound()


@pytest.fixture
async def cache(northbound: Northbound) -> NameCache:
    return NameCache(northbound.read, northbound.clock)


async def test_a_name_is_read_once_in_five_seconds(northbound: Northbound, cache: NameCache) -> None:
    assert await cache.get([WEB]) == [{"e1": "10.77.0.5"}]
    northbound.rows[WEB] = {}
    northbound.now += 4.9
    assert await cache.get([WEB]) == [{"e1": "10.77.0.5"}]
    assert northbound.reads == [[WEB]]
    northbound.now += 0.2
    assert await cache.get([WEB]) == [{}]


async def test_a_name_that_is_published_is_soon_found(northbound: Northbound, cache: NameCache) -> None:
    assert await cache.get([GONE]) == [{}]
    northbound.rows[GONE] = {"e3": "10.77.0.7"}
    northbound.now += 0.2
    assert await cache.get([GONE]) == [{}]
    northbound.now += 0.1
    assert await cache.get([GONE]) == [{"e3": "10.77.0.7"}]
    assert len(northbound.reads) == 2


async def test_keys_of_one_turn_are_read_together(northbound: Northbound, cache: NameCache) -> None:
    first, second = await asyncio.gather(cache.get([WEB, GONE]), cache.get([MAIL, WEB]))
    assert first == [{"e1": "10.77.0.5"}, {}]
    assert second == [{"e2": "10.77.0.6"}, {"e1": "10.77.0.5"}]
    assert northbound.reads == [[WEB, MAIL, GONE]]


async def test_a_key_that_is_being_read_is_waited_for(northbound: Northbound, cache: NameCache) -> None:
    northbound.open.clear()
    first = asyncio.create_task(cache.get([WEB]))
    await northbound.turns()
    second = asyncio.create_task(cache.get([WEB, MAIL]))
    await northbound.turns()
    assert northbound.reads == [[WEB], [MAIL]]
    first.cancel()
    await northbound.turns()
    northbound.open.set()
    assert await second == [{"e1": "10.77.0.5"}, {"e2": "10.77.0.6"}]
    assert first.cancelled()


async def test_what_was_known_is_given_while_northbound_is_away(
    northbound: Northbound, cache: NameCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await cache.get([WEB])
    northbound.away = True
    for _ in range(5):
        northbound.now += 1000
        assert await cache.get([WEB]) == [{"e1": "10.77.0.5"}]
        assert await cache.get([GONE, WEB]) == [{}, {"e1": "10.77.0.5"}]
        with pytest.raises(UnreachableError, match="away"):
            await cache.get([GONE])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    northbound.away = False
    northbound.now += 1000
    assert await cache.get([MAIL]) == [{"e2": "10.77.0.6"}]
    assert await cache.get([GONE]) == [{}]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_nobody_waits_for_a_northbound_that_is_away(northbound: Northbound, cache: NameCache) -> None:
    await cache.get([WEB])
    northbound.away = True
    northbound.now += 6
    await cache.get([WEB])
    northbound.open.clear()
    northbound.now += 6
    async with asyncio.timeout(0.5):
        assert await cache.get([WEB]) == [{"e1": "10.77.0.5"}]
    await northbound.turns()
    assert len(northbound.reads) == 3, "it is asked, in the background"
    northbound.open.set()
    await northbound.turns()
    with pytest.raises(UnreachableError):
        await cache.get([GONE])
    assert len(northbound.reads) == 3, "not asked so soon after it failed"


async def test_an_absent_name_is_not_known_in_an_outage(northbound: Northbound, cache: NameCache) -> None:
    assert await cache.get([GONE]) == [{}]
    northbound.away = True
    northbound.now += 1
    with pytest.raises(UnreachableError):
        await cache.get([GONE])


async def test_a_read_that_takes_too_long_has_failed(
    northbound: Northbound, cache: NameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_cache, "READ_TIMEOUT", 0.05)
    northbound.open.clear()
    with pytest.raises(UnreachableError, match=r"did not answer within 0\.05 s"):
        await cache.get([WEB])


async def test_a_fault_of_the_read_reaches_the_caller() -> None:
    async def read(_: Sequence[UUID]) -> Mapping[UUID, Mapping[str, str]]:
        raise KeyError("fault")

    cache = NameCache(read, lambda: 0.0)
    for _ in range(2):
        with pytest.raises(KeyError, match="fault"):
            await cache.get([WEB])


async def test_own_changes_are_seen_at_once(northbound: Northbound, cache: NameCache) -> None:
    await cache.get([WEB])
    cache.put(WEB, {"e9": "10.77.0.9"})
    assert await cache.get([WEB]) == [{"e9": "10.77.0.9"}]
    cache.forget([WEB, MAIL])
    assert await cache.get([WEB]) == [{"e1": "10.77.0.5"}]
    assert len(northbound.reads) == 2


async def test_a_change_counts_more_than_a_read_under_way(northbound: Northbound, cache: NameCache) -> None:
    northbound.open.clear()
    asking = [asyncio.create_task(cache.get([key])) for key in (WEB, MAIL)]
    await northbound.turns()
    cache.put(WEB, {})
    cache.forget([MAIL])
    northbound.rows[MAIL] = {"e8": "10.77.0.8"}
    northbound.open.set()
    assert await asking[0] == [{}]
    assert await asking[1] == [{"e2": "10.77.0.6"}], "as it was when it asked"
    assert await cache.get([WEB, MAIL]) == [{}, {"e8": "10.77.0.8"}]


async def test_the_least_recently_used_is_dropped(
    northbound: Northbound, cache: NameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_cache, "CAPACITY", 2)
    await cache.get([WEB])
    await cache.get([MAIL])
    await cache.get([WEB])
    await cache.get([GONE])
    assert await cache.get([WEB, GONE]) == [{"e1": "10.77.0.5"}, {}]
    assert len(northbound.reads) == 3
    await cache.get([MAIL])
    assert northbound.reads[3] == [MAIL]


async def test_more_keys_than_it_holds_are_given(cache: NameCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_cache, "CAPACITY", 1)
    assert await cache.get([WEB, MAIL]) == [{"e1": "10.77.0.5"}, {"e2": "10.77.0.6"}]


async def test_closing_stops_the_read(northbound: Northbound, cache: NameCache) -> None:
    northbound.open.clear()
    asking = asyncio.create_task(cache.get([WEB]))
    await northbound.turns()
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await cache.close()
