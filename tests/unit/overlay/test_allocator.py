"""Where the next address of a pool is looked for while others lease from it too."""

import pytest

from ovn_docker.address_pools import Pool, new_pool
from ovn_docker.overlay.ipam.allocator import QUIET, STEPS, Cursor


@pytest.fixture
def pool() -> Pool:
    return new_pool("default", "10.0.0.0/24", "", "")


def cursor_that_was_late(times: int) -> Cursor:
    cursor = Cursor()
    for _ in range(times):
        cursor.refused(cursor.round, hint=7)
    return cursor


def test_who_comes_too_late_once_goes_on_in_order_behind_the_last_lease() -> None:
    cursor = cursor_that_was_late(1)
    assert (cursor.last, cursor.step, cursor.knows) == (7, 0, False)


def test_who_comes_too_late_again_steps_aside_and_farther_each_time_up_to_a_limit() -> None:
    steps = [cursor_that_was_late(times).step for times in range(2, 9)]
    assert steps == [*STEPS[2:], *[STEPS[-1]] * 3]


def test_tries_of_one_answer_that_fail_together_count_once() -> None:
    cursor = Cursor()
    asked_in = cursor.round
    for _ in range(5):
        cursor.refused(asked_in, hint=7)
    assert cursor.late == 1


def test_hosts_that_take_turns_stay_in_order() -> None:
    cursor = Cursor()
    for _ in range(20):
        cursor.refused(cursor.round, hint=7)
        assert cursor.step == 0
        cursor.taken()


def test_nobody_is_stepped_aside_from_any_more_once_nobody_is_in_the_way() -> None:
    cursor = cursor_that_was_late(len(STEPS) + 3)
    for _ in range(len(STEPS) * QUIET):
        cursor.taken()
    cursor.refused(cursor.round, hint=9)
    assert (cursor.last, cursor.step) == (9, 0)


def test_an_answer_ends_the_step_aside_and_is_used_in_order(pool: Pool) -> None:
    cursor = cursor_that_was_late(3)
    cursor.found([20, 40], asked=100, last=99)
    assert (cursor.step, cursor.spread) == (0, 50)
    assert [cursor.next(pool), cursor.next(pool)] == [20, 40]
    assert not cursor.knows


def test_where_all_was_free_it_goes_on_without_a_question(pool: Pool) -> None:
    cursor = Cursor()
    first = int(pool.subnet.network_address)
    cursor.found([first + 5, first + 6], asked=2, last=first + 6)
    assert [cursor.next(pool) - first for _ in range(3)] == [5, 6, 7]
    assert cursor.knows
