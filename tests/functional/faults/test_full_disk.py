"""The disk under the state file is full: shared networks are refused in one line, and the rest goes on."""

import subprocess
from pathlib import Path

import pytest

from tests.functional.faults.hosts import configure, held
from tests.functional.faults.killing import driver_process
from tests.functional.faults.story import OWN, SHARED, Failure, Story
from tests.functional.overlay.overlay_host import SwitchDaemons
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer

pytestmark = pytest.mark.functional

MADE = SHARED.index("CreateNetwork")


def small_disk(directory: Path) -> Path:
    """Mount a file system of two pages there, in this namespace only, and fill it; the file that does."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", directory], check=True, timeout=10)
    filling = directory / "filling"
    with pytest.raises(OSError, match="No space left"):
        filling.write_bytes(bytes(1 << 16))
    return filling


@in_private_network
async def test_a_full_disk_is_said_in_one_line_and_nothing_is_half_made(
    northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    configure(open_vswitch, str(northbound.remote))
    filling = small_disk(short_path / "state")
    with driver_process(short_path, str(open_vswitch.remote)) as driver:
        pid = driver.pid
        async with SwitchDaemons(open_vswitch).serve():
            await Story(driver.socket, 1, OWN).tell(OWN)  # needs no file
            shared = Story(driver.socket, 2, SHARED)
            await shared.tell(SHARED[:MADE])
            with pytest.raises(Failure) as failure:
                await shared.ask("CreateNetwork")
            text = f"the state file {driver.state_file} cannot be written: No space left on device"
            assert text in str(failure.value)
            assert northbound.rows("Logical_Switch", "name") == [], "the switch was taken back"
            filling.unlink()
            await shared.tell(SHARED[MADE:])
        assert driver.pid == pid
    assert held(northbound) == []


@in_private_network
async def test_a_disk_that_fills_up_later_keeps_what_the_file_says(
    northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    configure(open_vswitch, str(northbound.remote))
    filling = small_disk(short_path / "state")
    filling.unlink()
    with driver_process(short_path, str(open_vswitch.remote)) as driver:
        first, second = (Story(driver.socket, number, SHARED) for number in (1, 2))
        async with SwitchDaemons(open_vswitch).serve():
            await first.tell(SHARED[: MADE + 1])
            before = driver.state_file.read_text()
            with pytest.raises(OSError, match="No space left"):
                filling.write_bytes(bytes(1 << 16))
            await second.tell(SHARED[:MADE])
            with pytest.raises(Failure, match="cannot be written"):
                await second.ask("CreateNetwork")
            assert driver.state_file.read_text() == before
            driver.kill()
            driver.start()
            await first.tell(SHARED[MADE + 1 : SHARED.index("DeleteNetwork")])
