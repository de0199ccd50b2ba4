"""What is taken back in the background: patiently, and within bounds."""

import asyncio
from collections.abc import Callable

from ovn_docker.errors import NeutronError, UnreachableError
from ovn_docker.underlay.neutron_undo import NeutronUndo

SOON = 0.001


async def until(condition: Callable[[], object]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(SOON)
    raise AssertionError("it does not hold")


async def test_nothing_counts_as_a_look_while_neutron_is_away() -> None:
    away, tries, done = [True], [0], [0]

    async def work() -> None:
        tries[0] += 1
        if away[0]:
            raise UnreachableError("OpenStack cannot be reached")
        done[0] += 1

    undoing = NeutronUndo((0.0, SOON), again=SOON)
    undoing.later("p1", work)
    await until(lambda: tries[0] > 10)
    away[0] = False
    await until(lambda: done[0] == 2)


async def test_a_neutron_that_did_not_answer_the_last_request_is_not_asked() -> None:
    looked, asked = [0], [0]

    def answers() -> bool:
        looked[0] += 1
        return looked[0] > 10

    async def work() -> None:
        assert looked[0] > 10
        asked[0] += 1

    undoing = NeutronUndo((0.0,), answers, again=SOON)
    undoing.later("p1", work)
    await until(lambda: asked == [1])


async def test_it_is_looked_again_after_an_error_of_any_kind() -> None:
    errors = [NeutronError("in use", 409), KeyError("ports"), RuntimeError("")]
    done = [0]

    async def work() -> None:
        if errors:
            raise errors.pop()
        done[0] += 1

    undoing = NeutronUndo((0.0, *[SOON] * 3))
    undoing.later("p1", work)
    await until(lambda: done == [1])


async def test_patience_ends() -> None:
    tries = [0]

    async def work() -> None:
        tries[0] += 1
        raise UnreachableError("OpenStack cannot be reached")

    undoing = NeutronUndo((0.0,), again=SOON, patience=20 * SOON)
    undoing.later("p1", work)
    await until(lambda: tries[0] > 1)
    await until(lambda: not undoing.planned())


async def test_there_are_never_more_than_so_many_and_the_oldest_goes() -> None:
    async def work() -> None:
        raise UnreachableError("OpenStack cannot be reached")

    undoing = NeutronUndo((0.0,), again=60, most=3)
    for number in range(5):
        undoing.later(f"p{number}", work)
    assert undoing.planned() == ["p2", "p3", "p4"]
    await undoing.stop()
