"""One process with many hosts' drivers: commands as lines of JSON on standard input, an answer to each.

Ends when its standard input does, so that none outlives the process that started it.
"""

import asyncio
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.scale.driver import VERBS, Driver, Network, configuration
from bench.scale.plan import ScalePlan, host_name
from ovn_docker.errors import OvnDockerError

_LONGEST = 1 << 20
_AT_ONCE = 8
"""Hosts whose containers are made at the same time."""

Answer = dict[str, Any]


class Worker:
    """The hosts of one process."""

    def __init__(self) -> None:
        self._plan = ScalePlan()
        self._numbers: dict[str, int] = {}
        self._drivers: list[Driver] = []
        self._networks: dict[str, Network] = {}

    async def make(self, directory: str, hosts: list[int], plan: dict[str, Any]) -> Answer:
        """Have these hosts; nothing runs yet."""
        self._plan = ScalePlan(**plan)
        shared = configuration(self._plan)
        self._numbers = {host_name(number): number for number in hosts}
        self._drivers = [Driver(name, Path(directory), shared) for name in self._numbers]
        return {}

    async def start(self) -> Answer:
        """Start all drivers, not yet pointed to a Northbound."""
        for driver in self._drivers:
            await driver.start()
        return {}

    async def point(self, northbound: str) -> Answer:
        """Point all to Northbound at once."""
        for driver in self._drivers:
            driver.point(northbound)
        return {}

    async def wait(self, since: float, limit: float) -> Answer:
        """When each was connected after a moment by time.monotonic(), and when the last served Docker."""
        async with asyncio.timeout(limit):
            await asyncio.gather(*(driver.connected_after(since) for driver in self._drivers))
            await asyncio.gather(*(driver.admitted() for driver in self._drivers))
        return {
            "connected": [driver.connected_at - since for driver in self._drivers],
            "serving": time.monotonic() - since,
        }

    async def drift(self, seconds: float) -> Answer:
        """Have each host ask Northbound for a row at its own moment within `seconds`.

        A server probes a session a fixed time after its last message. Hosts that connected at once would be
        probed at once, which costs the server much less than probes that are spread, as they are in time.
        """

        async def one(driver: Driver) -> None:
            await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311 (to spread load)
            await driver.look()

        await asyncio.gather(*map(one, self._drivers))
        return {}

    async def fill(self, northbound: str, limit: float) -> Answer:
        """Have each host make its networks and containers, a few hosts at a time."""
        few = asyncio.Semaphore(_AT_ONCE)

        async def one(driver: Driver) -> None:
            async with few:
                await driver.start()
                driver.point(northbound)
                try:
                    await self._fill(driver, self._numbers[driver.name])
                finally:
                    await driver.stop()

        async with asyncio.timeout(limit), asyncio.TaskGroup() as tasks:
            for driver in self._drivers:
                tasks.create_task(one(driver))
        return {}

    async def _fill(self, driver: Driver, host: int) -> None:
        networks = {
            number: await driver.network_create(str(self._plan.subnet(number)))
            for number in self._plan.networks(host)
        }
        for container in range(self._plan.containers):
            await driver.run(networks[self._plan.network_of(host, container)])
        await driver.finish_index()

    async def network(self, subnet: str) -> Answer:
        """Have each host make the same network, for `lives`."""
        for driver in self._drivers:
            if driver.name not in self._networks:
                self._networks[driver.name] = await driver.network_create(subnet)
        return {}

    async def lives(self, callers: int, seconds: float) -> Answer:
        """Make and remove endpoints, each of the callers on a host of its own, one after the other."""
        times: dict[str, list[float]] = {verb: [] for verb in VERBS}
        errors: Counter[str] = Counter()
        began = time.monotonic()

        async def call(driver: Driver) -> None:
            while time.monotonic() - began < seconds:
                try:
                    took = await driver.life(self._networks[driver.name])
                except OvnDockerError as error:
                    errors[str(error)] += 1
                    continue
                for verb, milliseconds in took.items():
                    times[verb].append(milliseconds)

        await asyncio.gather(*(call(driver) for driver in self._drivers[:callers]))
        return {"times": times, "seconds": time.monotonic() - began, "errors": dict(errors)}

    async def watch(self) -> Answer:
        """Begin the health checks."""
        for driver in self._drivers:
            driver.watch()
        return {}

    async def passes(self) -> Answer:
        """How many health checks were done so far, and what they found that should not be."""
        troubles = Counter(trouble for driver in self._drivers for trouble in driver.troubles)
        problems = Counter(problem for driver in self._drivers for problem in driver.problems())
        return {
            "passes": sum(driver.passes for driver in self._drivers),
            "troubles": dict(troubles + problems),
        }

    async def endpoints(self, host: int) -> Answer:
        """The endpoints of a host by network."""
        name = host_name(host)
        found = [driver.docker.endpoints() for driver in self._drivers if driver.name == name]
        return {"networks": found[0] if found else {}}

    async def stop(self) -> Answer:
        """End all drivers."""
        await asyncio.gather(*(driver.stop() for driver in self._drivers))
        return {}


async def serve() -> None:
    """Carry out commands until there are no more."""
    worker, reader = Worker(), asyncio.StreamReader(_LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        number = command.pop("number")
        do: Callable[..., Awaitable[Answer]] = getattr(worker, command.pop("do"))
        try:
            answer = await do(**command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        sys.stdout.write(json.dumps({"number": number, **answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve())
