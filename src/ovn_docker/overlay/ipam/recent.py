"""A cache that does not grow: what was set longest ago goes first."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST = 256
"""So many switches, pools or the like are remembered; who has more of them asks again."""


class Recent(dict[K, V]):
    """The values set last, by key. Only setting one counts, and only by `[]`."""

    def __init__(self, most: int = MOST) -> None:
        """Hold so many."""
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        """Set a value, and let go of the oldest if that is one too many."""
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._most:
            del self[next(iter(self))]
