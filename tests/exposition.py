"""Prometheus's text format, read as Prometheus reads it."""

from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, dict[str, str], float]


def read(text: bytes) -> list[Sample]:
    """Name, labels and value of each sample."""
    families = text_string_to_metric_families(text.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def value(samples: Sequence[Sample], name: str, **labels: str) -> float | None:
    """The value of the one sample of that name that has these labels; None where there is none."""
    found = [each for its, has, each in samples if its == name and labels.items() <= has.items()]
    assert len(found) < 2, found
    return found[0] if found else None
