"""A cell of the tables of `scripts/bench scale`. Pure."""

from collections.abc import Sequence

from bench.figures import Figure, median, percentile
from bench.scale.page import MEASURED


def figure(section: str, item: str, values: Sequence[float], unit: str, column: str = MEASURED) -> Figure:
    """One cell of a table."""
    return Figure(
        section=section,
        item=item,
        contestant=column,
        unit=unit,
        samples=len(values),
        p50=median(values),
        p99=percentile(values, 99),
    )
