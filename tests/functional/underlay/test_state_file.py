"""What the driver writes on its disk, while another process holds the lock of the directory."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ovn_docker.errors import UnreachableError
from ovn_docker.underlay import neutron_networks
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer, until
from tests.functional.underlay import underlay_host
from tests.functional.underlay.underlay_host import network

pytestmark = pytest.mark.functional

HELD = 2.0


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock, as an `ovn-docker repair` does that was stopped."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


@in_private_network
async def test_others_are_served_while_a_verb_waits_for_the_lock(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        await vm.parts.driver.create_network(network("f" * 64, "10.8.0.0/24"))  # libraries are loaded
        lock = locked(short_path)
        lock.__enter__()
        release = threading.Timer(HELD, lambda: lock.__exit__(None, None, None))
        release.start()
        creating = asyncio.create_task(vm.parts.driver.create_network(network()))
        longest, before = 0.0, time.monotonic()
        while not creating.done():
            await asyncio.sleep(0.01)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        await creating
        release.join()
        assert longest < HELD / 2


@in_private_network
async def test_a_lock_held_for_long_fails_the_verb_and_leaves_nothing(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    timeout, neutron_networks.FILE_TIMEOUT = neutron_networks.FILE_TIMEOUT, 0.3
    try:
        async with underlay_host.machine(open_vswitch, short_path) as vm:
            with locked(short_path):
                for _ in range(2):
                    with pytest.raises(UnreachableError, match=r"state\.json .* another process"):
                        await vm.parts.driver.create_network(network())
                assert threading.active_count() < 20
            await until(lambda: len(vm.neutron.tables["networks"]) == 1, "only the machine's own is left")
            database = await vm.parts.driver.database()
            assert database["networks"] == {}
    finally:
        neutron_networks.FILE_TIMEOUT = timeout
