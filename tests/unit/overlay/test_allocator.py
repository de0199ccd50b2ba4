"""Where the next address of a pool is looked for while other hosts lease from it too."""

import pytest

from ovn_docker.address_pools import Pool, new_pool
from ovn_docker.overlay.ipam.allocator import FIRST_SKIP, LARGEST_SKIP, Cursor


@pytest.fixture
def pool() -> Pool:
    return new_pool("default", "10.0.0.0/24", "", "")


def refused_cursor(times: int) -> Cursor:
    cursor = Cursor()
    for _ in range(times):
        cursor.refused(cursor.generation, hint=7)
    return cursor


def test_a_host_refused_once_goes_on_in_order_behind_the_last_lease() -> None:
    cursor = refused_cursor(1)
    assert (cursor.last, cursor.skip, cursor.has_candidates) == (7, 1, False)


def test_a_host_refused_again_steps_aside_farther_each_time_up_to_a_limit() -> None:
    skips = [refused_cursor(times).skip for times in range(2, 8)]
    assert skips == [FIRST_SKIP, 2 * FIRST_SKIP, 4 * FIRST_SKIP, *[LARGEST_SKIP] * 3]


def test_tries_of_one_window_that_fail_together_count_once() -> None:
    cursor = Cursor()
    generation = cursor.generation
    for _ in range(5):
        cursor.refused(generation, hint=7)
    assert cursor.skip == 1


def test_hosts_that_take_turns_stay_in_order() -> None:
    cursor = Cursor()
    for _ in range(20):
        cursor.refused(cursor.generation, hint=7)
        assert cursor.skip == 1
        cursor.succeeded()


def test_a_host_that_meets_no_other_returns_to_order() -> None:
    cursor = refused_cursor(9)
    for _ in range(LARGEST_SKIP.bit_length()):
        cursor.succeeded()
    cursor.refused(cursor.generation, hint=9)
    assert (cursor.last, cursor.skip) == (9, 1)


def test_probed_addresses_are_tried_in_order(pool: Pool) -> None:
    cursor = refused_cursor(3)
    cursor.found([20, 40], probed=100, last=99)
    assert [cursor.next(pool), cursor.next(pool)] == [20, 40]
    assert not cursor.has_candidates


def test_after_a_window_that_was_entirely_free_no_probe_is_needed(pool: Pool) -> None:
    cursor = Cursor()
    first = int(pool.subnet.network_address)
    cursor.found([first + 5, first + 6], probed=2, last=first + 6)
    assert [cursor.next(pool) - first for _ in range(3)] == [5, 6, 7]
    assert cursor.has_candidates
