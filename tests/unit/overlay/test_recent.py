"""The cache that does not grow."""

from ovn_docker.overlay.ipam.foreign_addresses import Recent


def test_what_was_set_longest_ago_goes_first() -> None:
    cache: Recent[str, int] = Recent(2)
    cache["a"] = 1
    cache["b"] = 2
    cache["a"] = 3
    cache["c"] = 4
    assert cache == {"a": 3, "c": 4}
