"""What an idle driver costs: memory, processor time, and the time to start."""

import time

from bench.drivers import Driver
from bench.figures import Figure, Samples
from bench.testbed import ContestTestbed

MEMORY, IDLE, START = (
    "resident memory",
    "processor time while idle",
    "start until Plugin.Activate is answered",
)


def measure_memory(testbed: ContestTestbed) -> list[Figure]:
    """Resident memory of each driver, in MB of 10^6 bytes."""
    samples = Samples("costs", testbed.ports)
    for driver in testbed.drivers:
        samples.add(driver.title, MEMORY, driver.resident_mb())
    return samples.figures(unit="MB")


def measure_idle(testbed: ContestTestbed, seconds: int) -> list[Figure]:
    """Processor time that each driver uses while idle, in percent of one core."""
    before = [driver.cpu_seconds() for driver in testbed.drivers]
    started = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - started
    samples = Samples("costs", testbed.ports)
    for driver, used in zip(testbed.drivers, before, strict=True):
        samples.add(driver.title, IDLE, (driver.cpu_seconds() - used) / elapsed * 100)
    return samples.figures(unit="% of a core")


def measure_starts(testbed: ContestTestbed, starts: int) -> list[Figure]:
    """Time from the start of each driver's process until it answers."""
    samples = Samples("costs", testbed.ports)
    for driver in testbed.drivers:
        for _ in range(starts):
            samples.add(driver.title, START, _restart(driver))
    return samples.figures(unit="s")


def _restart(driver: Driver) -> float:
    driver.stop()
    return driver.start()
