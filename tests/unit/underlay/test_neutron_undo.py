"""What is undone in the background: for long, and within bounds."""

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


async def test_an_attempt_does_not_count_while_neutron_is_away() -> None:
    away, tries, done = [True], [0], [0]

    async def work() -> None:
        tries[0] += 1
        if away[0]:
            raise UnreachableError("OpenStack cannot be reached")
        done[0] += 1

    undoing = NeutronUndo((0.0, SOON), retry_interval=SOON)
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

    undoing = NeutronUndo((0.0,), answers, retry_interval=SOON)
    undoing.later("p1", work)
    await until(lambda: asked == [1])


async def test_it_is_tried_again_after_an_error_of_any_kind() -> None:
    errors = [NeutronError("in use", 409), KeyError("ports"), RuntimeError("")]
    done = [0]

    async def work() -> None:
        if errors:
            raise errors.pop()
        done[0] += 1

    undoing = NeutronUndo((0.0, *[SOON] * 3))
    undoing.later("p1", work)
    await until(lambda: done == [1])


async def test_an_attempt_that_is_never_answered_ends() -> None:
    tries = [0]

    async def work() -> None:
        tries[0] += 1
        raise UnreachableError("OpenStack cannot be reached")

    undoing = NeutronUndo((0.0,), retry_interval=SOON, timeout=20 * SOON)
    undoing.later("p1", work)
    await until(lambda: tries[0] > 1)
    await until(lambda: not undoing._tasks)


async def test_beyond_the_limit_the_oldest_is_dropped() -> None:
    async def work() -> None:
        raise UnreachableError("OpenStack cannot be reached")

    undoing = NeutronUndo((0.0,), retry_interval=60, limit=3)
    for number in range(5):
        undoing.later(f"p{number}", work)
    assert list(undoing._tasks) == ["p2", "p3", "p4"]
    await undoing.stop()
