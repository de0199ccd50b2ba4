"""Wait for a condition in a test, with a limit, in place of a sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_INTERVAL = 0.02

_Value = TypeVar("_Value")


def eventually(condition: Callable[[], _Value], timeout: float, what: str) -> _Value:
    """Poll until a condition gives something true, and return that.

    Args:
        condition: what is waited for; must itself not block for long.
        timeout: limit in seconds; the condition is tried once more after it.
        what: the condition in words, for the failure.

    Raises:
        AssertionError: it did not hold in time; the text has its last value.
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() > deadline
        if value := condition():
            return value
        if late:
            raise AssertionError(f"after {timeout:g} s still not: {what} (last value: {value!r})")
        time.sleep(POLL_INTERVAL)
