"""The driver is killed at every step of each verb: the repeat of the verb finishes, and nothing is left."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.functional.faults.hosts import configure, held
from tests.functional.faults.killing import AFTER, BEFORE, DriverProcess, Fuse, FusedProxy
from tests.functional.faults.story import OWN, SHARED, Story
from tests.functional.overlay.overlay_host import SwitchDaemons
from tests.functional.private_network import in_private_network, links
from tests.functional.servers import OvsdbServer, until

pytestmark = pytest.mark.functional

GIVES_ANOTHER = {"RequestPool", "RequestAddress"}
"""A repeat of these is given another token or address; only Docker knows that the first has no owner."""

MOST_STEPS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """A driver process with its databases, and the fuse between them."""

    driver: DriverProcess
    fuse: Fuse
    northbound: OvsdbServer
    open_vswitch: OvsdbServer

    def plugged_in(self, link: str) -> bool:
        """Whether a link is in Open vSwitch, and the driver is not about to die of having heard so."""
        names = [row["name"] for row in self.open_vswitch.rows("Interface", "name")]
        return link in names and not self.fuse.fatal

    def left(self) -> list[str]:
        """What there is of the driver's anywhere."""
        found = [f"{table} {row['name']}" for table in TABLES for row in self.northbound.rows(table, "name")]
        found += held(self.northbound)
        found += [f"interface {row['name']}" for row in self.open_vswitch.rows("Interface", "name")]
        return found + [f"link {name}" for name in sorted(links())]


TABLES = ("Logical_Switch", "Logical_Switch_Port")


@contextlib.asynccontextmanager
async def place(northbound: OvsdbServer, open_vswitch: OvsdbServer, directory: Path) -> AsyncIterator[Place]:
    """All of them, running."""
    fuse = Fuse()
    nb = FusedProxy(directory / "nb", northbound.socket, fuse)
    ovs = FusedProxy(directory / "ovs", open_vswitch.socket, fuse)
    driver = DriverProcess(directory, str(ovs.remote))
    fuse.kill = driver.kill
    configure(open_vswitch, str(nb.remote))
    try:
        async with nb.serve(), ovs.serve(), SwitchDaemons(open_vswitch).serve():
            yield Place(driver, fuse, northbound, open_vswitch)
    finally:
        driver.kill()


async def killed_at(here: Place, story: Story, verb: str, step: int, moment: str) -> bool:
    """Tell a story in which the driver dies in a verb and dockerd repeats it; False if it had less steps."""
    at = story.verbs.index(verb)
    await story.tell(story.verbs[:at])
    here.fuse.set(step, moment)
    with contextlib.suppress(aiohttp.ClientError):
        await story.ask(verb)
        if verb == "CreateEndpoint":  # which goes on behind its answer
            await until(lambda: here.fuse.blown or here.plugged_in(story.link), "it is plugged in")
        else:
            assert not here.fuse.blown
    killed = here.fuse.blown
    here.fuse.set(0, BEFORE)
    if killed:
        here.driver.start()
        await story.ask(verb)
    await story.tell(story.verbs[at + 1 :])
    return killed


def cases() -> Iterator[tuple[str, Sequence[str]]]:
    yield from ((verb, OWN) for verb in OWN)
    yield from ((verb, SHARED) for verb in SHARED)


@pytest.mark.parametrize(
    ("verb", "verbs"), list(cases()), ids=lambda value: value if isinstance(value, str) else str(len(value))
)
@in_private_network
async def test_the_repeat_of_a_verb_finishes_what_a_kill_interrupted(
    verb: str, verbs: Sequence[str], northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    numbers = itertools.count(1)
    async with place(northbound, open_vswitch, short_path) as here:
        here.driver.start()
        for moment in (BEFORE, AFTER):
            steps = 1
            while await killed_at(here, Story(here.driver.socket, next(numbers), verbs), verb, steps, moment):
                steps += 1
                assert steps < MOST_STEPS
            assert steps > 1, f"{verb} has no step at which it could be killed"
        left = here.left()
    if verb in GIVES_ANOTHER:
        left = [each for each in left if each.split()[0] not in {"pool", "lease"}]
    assert left == []
